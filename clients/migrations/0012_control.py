
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('clients', '0011_most_leases'),
    ]

    operations = [
        migrations.AddField(
            model_name='agent',
            name='control_epoch',
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
    ]
