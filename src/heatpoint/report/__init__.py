"""Pictures and pages: points with their ellipses, maps, error curves, the HTML report and the demo."""
