"""The command line: arguments, one function a command, errors as one line with an exit code.

May import everything of `jobs`; nothing but `jobs.__main__` imports it.
"""
