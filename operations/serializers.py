"""What /v1/operation-types answers."""

from typing import Any

from rest_framework import serializers

from operations.risk import Assurance, Risk


class OperationTypeSerializer(serializers.Serializer[Any]):
    """One operation type, in its newest version."""

    type = serializers.CharField(source="name", help_text="The value of `type` in authorization_details.")
    version = serializers.IntegerField(source="current.number")
    resource = serializers.CharField(
        source="resource.identifier", help_text="The resource identifier, which is `aud` of the tokens."
    )
    title = serializers.CharField(source="current.title")
    summary = serializers.CharField(
        source="current.summary", help_text="What the user is shown; names in braces are fields of the operation."
    )
    risk = serializers.ChoiceField([risk.value for risk in Risk], source="current.risk")
    assurance = serializers.ChoiceField(
        [assurance.value for assurance in Assurance], source="current.assurance",
        help_text="How the user must prove that it is them.",
    )  # fmt: skip
    uses = serializers.IntegerField(source="current.uses", help_text="How many uses one approval allows.")
    lifetime = serializers.IntegerField(source="current.lifetime", help_text="Seconds that a grant of this type lives.")
    schema = serializers.DictField(
        source="current.schema",
        help_text="JSON Schema 2020-12 of the object in authorization_details, without its `type`.",
    )
