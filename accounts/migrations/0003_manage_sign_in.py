from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_phone'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='user',
            options={'default_permissions': ('add', 'change', 'view'), 'permissions': [('manage_sign_in', 'Can make sign-in links for users and change what identifies them')], 'verbose_name': 'person', 'verbose_name_plural': 'people'},
        ),
    ]
