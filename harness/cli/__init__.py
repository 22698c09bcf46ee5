"""The command line: names in, sentences out. One module a subject; heavy imports wait inside the commands."""
