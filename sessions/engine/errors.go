package engine

import "fmt"

// Code classifies an error of an engine; the values are those of the C ABI.
type Code int

// The codes of an engine.
const (
	Invalid     Code = 1  // can never work: a request, configuration or file content
	NotFound    Code = 2  // a file, tensor, family or device that is not there
	Unsupported Code = 3  // valid, but this build cannot do it
	OutOfMemory Code = 4  // host memory
	DeviceOOM   Code = 5  // device memory
	DeviceLost  Code = 6  // the session can only be closed
	IO          Code = 7  // reading or writing a file
	Cancelled   Code = 8  // stopped on request
	State       Code = 9  // not legal now
	Numeric     Code = 10 // not finite: the step was not applied, or nothing was saved
	Internal    Code = 11 // a defect; the session can only be closed
)

// Error is what engines return.
type Error struct {
	Code    Code   `json:"code"`
	Place   string `json:"place,omitempty"` // file and line in the core, for bug reports
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an *Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
