"""What an AlexNet is: specs, the catalogue, the modules built from them. Knows nothing of runs, records or reports."""
