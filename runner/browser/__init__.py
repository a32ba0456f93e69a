"""The runs that there are: listing, choosing, comparing, tidying and handing on. Loads neither torch nor Lightning."""
