"""How runs happen: data, training, probes, records and the report. What an AlexNet is stands in `variants`."""

__version__ = "0.1.0"
