from django.conf import settings
from django.db import migrations, models

from clients.names import skeleton


def compute_skeletons(apps, schema_editor):
    agents = apps.get_model("clients", "Agent").objects.using(schema_editor.connection.alias)
    for agent in agents.only("pk", "name").iterator():
        agents.filter(pk=agent.pk).update(name_skeleton=skeleton(agent.name)[:255])


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('clients', '0012_control'),
        ('operations', '0002_type_names_are_uris'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='agent',
            name='name_skeleton',
            field=models.CharField(blank=True, db_default='', default='', editable=False, max_length=255),
        ),
        migrations.RunPython(compute_skeletons, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='agent',
            index=models.Index(condition=models.Q(('registration_source', 'manual')), fields=['name_skeleton'], name='agent_known_names'),
        ),
    ]
