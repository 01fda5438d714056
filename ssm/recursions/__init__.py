"""The members: every model the library holds, as one recursion each."""
