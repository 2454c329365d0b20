"""A page in the browser that shows runs and studies while they are under way; needs `altgrad[dashboard]`."""
