"""The kinds of faults, a module for each thing that they hit.

A new kind is a class in a module here (see `kinds`); schedule, injector and judge find it.
"""
