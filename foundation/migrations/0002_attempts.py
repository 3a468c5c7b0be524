from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('foundation', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('kind', models.CharField(max_length=40)),
                ('network', models.GenericIPAddressField()),
                ('beginning_digest', models.BinaryField(max_length=32)),
                ('at', models.DateTimeField(db_index=True)),
            ],
            options={
                'default_permissions': (),
                'indexes': [models.Index(fields=['network', 'at'], name='foundation__network_3eb82b_idx'), models.Index(fields=['beginning_digest', 'at'], name='foundation__beginni_8410c8_idx')],
            },
        ),
    ]
