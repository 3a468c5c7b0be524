import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ciba', '0007_time_to_fetch'),
        migrations.swappable_dependency(settings.OAUTH2_PROVIDER_APPLICATION_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='IdempotencyKey',
            fields=[
                ('request', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='idempotency_key', serialize=False, to='ciba.backchannelrequest')),
                ('key_digest', models.BinaryField(max_length=32)),
                ('sealed_answer', models.BinaryField()),
                ('expires_at', models.DateTimeField()),
                ('agent', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.OAUTH2_PROVIDER_APPLICATION_MODEL)),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(fields=['expires_at'], name='idempotency_key_due')],
                'constraints': [models.UniqueConstraint(fields=('agent', 'key_digest'), name='idempotency_key_unique')],
            },
        ),
    ]
