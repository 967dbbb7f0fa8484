package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

// Bounds of a form. SimpleTuner has about 500 options; values are at most a JSON document.
const (
	formFields = 1000
	fieldName  = 200
	fieldValue = 256 << 10
)

// form collects the fields of a request and what is wrong with them.
type form struct {
	fields   map[string][]string
	count    int
	problems Problems
}

// readForm reads a request of fields: multipart, urlencoded, or a JSON object, whose values become what a form would
// hold. No body is a form without fields.
func readForm(c *fiber.Ctx) (map[string][]string, error) {
	f := &form{fields: map[string][]string{}}
	body := c.Body()
	if len(body) == 0 {
		return f.fields, nil
	}
	kind, parameters, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	switch {
	case err != nil:
		err = fmt.Errorf("the header Content-Type %q is none; send multipart/form-data, as curl -F does", c.Get(fiber.HeaderContentType))
	case kind == mediaMultipart:
		err = f.readMultipart(body, parameters["boundary"])
	case kind == mediaForm:
		err = f.readQuery(string(body))
	case kind == mediaJSON:
		err = f.readObject(body)
	default:
		err = fmt.Errorf("%s is not read; send %s, %s or %s", kind, mediaMultipart, mediaForm, mediaJSON)
	}
	if err != nil {
		f.problems = append(f.problems, Problem{Type: "form_invalid", Loc: []any{"body"}, Message: err.Error(), Input: map[string]any{}})
	}
	if len(f.problems) > 0 {
		return nil, f.problems
	}
	return f.fields, nil
}

// errTooManyFields ends the reading of a form.
var errTooManyFields = fmt.Errorf("more than %d fields", formFields)

func (f *form) readMultipart(body []byte, boundary string) error {
	if boundary == "" {
		return errors.New("the header Content-Type names no boundary")
	}
	if !bytes.Contains(body, []byte("--"+boundary+"--")) {
		return fmt.Errorf("not well-formed %s: the boundary that ends it is missing", mediaMultipart)
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not well-formed %s: %w", mediaMultipart, err)
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return fmt.Errorf("not well-formed %s: %w", mediaMultipart, err)
		}
		if part.FileName() != "" {
			f.refuse(part.FormName(), "is a file; send its text instead, with curl as -F 'name=<FILE'")
		}
		if err := f.add(part.FormName(), string(value)); err != nil {
			return err
		}
	}
}

func (f *form) readQuery(body string) error {
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		plainName, nameErr := url.QueryUnescape(name)
		plainValue, valueErr := url.QueryUnescape(value)
		if err := errors.Join(nameErr, valueErr); err != nil {
			return fmt.Errorf("not well-formed %s: %w", mediaForm, err)
		}
		if err := f.add(plainName, plainValue); err != nil {
			return err
		}
	}
	return nil
}

func (f *form) readObject(body []byte) error {
	value, err := parseStrict(body)
	if err != nil {
		return fmt.Errorf("JSON decode error: %w", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New("the JSON value is not an object")
	}
	for name, value := range object {
		if value == nil {
			continue
		}
		text, ok := value.(string)
		if !ok {
			data, err := json.Marshal(value)
			if err != nil {
				return fmt.Errorf("field %q: %w", name, err)
			}
			text = string(data)
		}
		if err := f.add(name, text); err != nil {
			return err
		}
	}
	return nil
}

// add takes a field; an error ends the reading.
func (f *form) add(name, value string) error {
	if f.count++; f.count > formFields {
		return errTooManyFields
	}
	switch {
	case name == "" || len(name) > fieldName || !utf8.ValidString(name):
		f.refuse(strings.ToValidUTF8(name[:min(len(name), fieldName)], "�"), fmt.Sprintf("is no name of a field: use 1 to %d bytes of UTF-8", fieldName))
	case len(value) > fieldValue:
		f.refuse(name, fmt.Sprintf("has %d bytes, more than %d", len(value), fieldValue))
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		f.refuse(name, "is not text in UTF-8")
	default:
		f.fields[name] = append(f.fields[name], value)
	}
	return nil
}

func (f *form) refuse(name, message string) {
	f.problems = append(f.problems, Problem{Type: "form_field", Loc: []any{"body", name}, Message: "Field " + message, Input: nil})
}
