package configs

import (
	"errors"
	"fmt"
)

// What an Error is about; test with errors.Is.
var (
	ErrNotFound = errors.New("configuration not found")
	ErrExists   = errors.New("configuration already exists")
	ErrBadName  = errors.New("name cannot be used")
	ErrActive   = errors.New("configuration is active")
	ErrOutside  = errors.New("path leads out of the configs directory")
	ErrBroken   = errors.New("file is not a usable configuration")
	ErrInvalid  = errors.New("content does not fit")
)

// Error is a refusal whose text may be shown to the client.
type Error struct {
	Kind error // one of the Err values
	Text string
}

func (e *Error) Error() string { return e.Text }

// Unwrap makes errors.Is find the kind.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}
