from django.db import migrations, models
from django.db.models import F


def copy_expiry(apps, schema_editor):
    """Requests that are open already keep the time that their people were told."""
    requests = apps.get_model('ciba', 'BackchannelRequest').objects.using(schema_editor.connection.alias)
    requests.update(auth_req_id_expires_at=F('expires_at'))


class Migration(migrations.Migration):

    dependencies = [
        ('ciba', '0006_control'),
    ]

    operations = [
        migrations.AddField(
            model_name='backchannelrequest',
            name='auth_req_id_expires_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.RunPython(copy_expiry, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='backchannelrequest',
            name='auth_req_id_expires_at',
            field=models.DateTimeField(),
        ),
        migrations.AlterField(
            model_name='backchannelrequest',
            name='expires_at',
            field=models.DateTimeField(help_text='When its present state ends by itself: the prompt closes, or an approval can no longer be fetched.'),
        ),
    ]
