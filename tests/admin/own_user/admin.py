"""Their page in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from tests.admin.own_user.models import Person

admin.site.register(Person, UserAdmin)
