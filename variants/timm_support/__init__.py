"""What timm asks of a model: the adapter, its default_cfg, and where it cuts a net in two."""
