from django.db import migrations, models
from django.db.models import OuterRef, Subquery


def keep_endpoints(apps, schema_editor):
    """Requests that still have a callback owed go on to where their agent has it now."""
    here = schema_editor.connection.alias
    agents = apps.get_model("clients", "Agent").objects.using(here).filter(pk=OuterRef("agent_id"))
    requests = apps.get_model("ciba", "BackchannelRequest").objects.using(here)
    requests.filter(deliver_until__isnull=False).update(
        notification_endpoint=Subquery(agents.values("backchannel_client_notification_endpoint")[:1])
    )


class Migration(migrations.Migration):

    dependencies = [
        ('ciba', '0005_hidden_people'),
        ('clients', '0012_control'),
    ]

    operations = [
        migrations.AddField(
            model_name='backchannelrequest',
            name='agent_epoch',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='backchannelrequest',
            name='notification_endpoint',
            field=models.CharField(blank=True, db_default='', default='', max_length=2048),
        ),
        migrations.RunPython(keep_endpoints, migrations.RunPython.noop),
    ]
