
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('oauth', '0003_sender_constraint'),
    ]

    operations = [
        migrations.AddField(
            model_name='authorizationrequest',
            name='agent_epoch',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='grant',
            name='agent_epoch',
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
