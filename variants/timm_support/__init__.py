"""timm's model interface: the adapter, its default_cfg, and how a net is divided into features and
head.
"""
