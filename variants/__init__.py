"""What an AlexNet is: specs, the catalogue, the modules built from them.

It does not import `harness`.
"""
