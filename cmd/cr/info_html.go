//go:build !guest

package main

import "cr/inspect"

// writeHTML writes a report as a page.
var writeHTML = (*inspect.Report).HTML
