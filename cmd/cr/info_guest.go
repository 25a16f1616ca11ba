//go:build guest

package main

import (
	"io"

	"cr/inspect"
)

// writeHTML is nil: package html/template would add a quarter to what guests have
// to load, and they have no browser.
var writeHTML func(*inspect.Report, io.Writer) error
