"""The form of a user's page in the administration: roles of staff in place of single permissions."""

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import Group
from django.db.models import Q
from django.utils.html import format_html

from accounts.models import User
from accounts.staff_roles import GROUP_NAMES, ROLES, StaffRole


class UserForm(forms.ModelForm[User]):
    """`by` is the administrator who fills the form in; UserAdmin.get_form sets it."""

    by: ClassVar[User]

    roles = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="A user with a role may open the administration. You can assign the roles whose rights you have.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "roles" in self.fields:
            choices = [(role.name, describe(role)) for role in ROLES if self.by.may_assign(role)]
            self.fields["roles"].choices = choices  # type: ignore[attr-defined]
            self.initial["roles"] = [role.name for role in self.instance.staff_roles]
        if "groups" in self.fields:
            ordinary = Group.objects.exclude(name__in=GROUP_NAMES)
            self.fields["groups"].queryset = ordinary  # type: ignore[attr-defined]
            self.initial["groups"] = list(ordinary.filter(user=self.instance))

    def clean_groups(self) -> Any:
        """Adds the groups of the user's roles, which `roles` alone changes."""
        chosen: Any = self.cleaned_data["groups"]
        is_own_role = Q(name__in=GROUP_NAMES, user=self.instance)
        return Group.objects.filter(Q(pk__in=[group.pk for group in chosen]) | is_own_role).distinct()

    def chosen_roles(self) -> list[StaffRole]:
        return [role for role in ROLES if role.name in self.cleaned_data["roles"]]


def describe(role: StaffRole) -> str:
    return format_html("<strong>{}</strong>: {}", role.title, role.sentence)
