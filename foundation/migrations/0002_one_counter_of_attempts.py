import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    """Attempts of 15 minutes or an hour are not carried over: their counts begin again."""

    dependencies = [("foundation", "0001_initial")]

    operations = [
        migrations.DeleteModel(name="Attempt"),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=40)),
                (
                    "subject_digests",
                    django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=43), size=None),
                ),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(fields=["subject_digests"], name="attempt_subjects")
                ],
            },
        ),
    ]
