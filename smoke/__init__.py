"""What only a deployment can show, asked of it: ``make smoke URL=https://…``; docs/smoke.md explains each check.

``__main__`` takes the arguments and finds out what it can (``deployment``); ``checks`` is the table of what is asked,
one function a check; ``caller`` makes the requests and notes when each piece of an answer arrives; ``report`` prints.
"""
