################################################################################
#
# onaird
#
################################################################################

ONAIRD_VERSION = 0.1.0
ONAIRD_SITE = $(BR2_EXTERNAL_ONAIR_PATH)/..
ONAIRD_SITE_METHOD = local
ONAIRD_LICENSE = MIT or Apache-2.0
ONAIRD_LICENSE_FILES = LICENSE LICENSE-MIT LICENSE-APACHE
ONAIRD_DEPENDENCIES = alsa-lib gstreamer1 gst1-plugins-base host-clang host-pkgconf udev

define ONAIRD_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/systemd/onaird.service \
		$(TARGET_DIR)/usr/lib/systemd/system/onaird.service
	$(INSTALL) -D -m 0644 $(@D)/systemd/onaird-export@.service \
		$(TARGET_DIR)/usr/lib/systemd/system/onaird-export@.service
	$(INSTALL) -D -m 0644 $(@D)/systemd/onaird.sysusers.conf \
		$(TARGET_DIR)/usr/lib/sysusers.d/onaird.conf
	$(INSTALL) -D -m 0644 $(@D)/systemd/onaird.tmpfiles.conf \
		$(TARGET_DIR)/usr/lib/tmpfiles.d/onaird.conf
	$(INSTALL) -D -m 0644 $(@D)/systemd/onaird.modules.conf \
		$(TARGET_DIR)/usr/lib/modules-load.d/onaird.conf
	$(INSTALL) -D -m 0644 $(@D)/udev/70-onaird.rules \
		$(TARGET_DIR)/usr/lib/udev/rules.d/70-onaird.rules
	$(INSTALL) -D -m 0644 $(@D)/udev/71-onaird-export.rules \
		$(TARGET_DIR)/usr/lib/udev/rules.d/71-onaird-export.rules
	$(INSTALL) -D -m 0644 $(@D)/docs/factory.toml \
		$(TARGET_DIR)/usr/share/onaird/factory.toml
endef

$(eval $(cargo-package))
