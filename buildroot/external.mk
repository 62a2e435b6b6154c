include $(sort $(wildcard $(BR2_EXTERNAL_ONAIR_PATH)/package/*/*.mk))
