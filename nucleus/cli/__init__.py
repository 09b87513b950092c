"""The commands of `nucleus COMMAND`, one module each: parse, one library call, print."""
