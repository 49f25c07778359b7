"""Which questions a gateway takes on: by the seconds of work they are, and who asks.

`cost` learns what work takes, `lanes` decides, without a clock; `admission` is the asyncio shell.
"""
