from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('credentials', '0005_recoveries'),
    ]

    operations = [
        migrations.AddField(
            model_name='backend',
            name='left_behind',
            field=models.JSONField(default=list, editable=False),
        ),
    ]
