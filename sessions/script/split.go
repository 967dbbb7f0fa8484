package script

import (
	"errors"
	"strings"
)

// split cuts a command line into arguments as Python's shlex.split does it, which SimpleTuner uses: by white space, with
// quotes and backslashes as in a POSIX shell. Nothing is expanded, and "#" begins no comment.
func split(line string) ([]string, error) {
	s := splitter{rest: line}
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			s.end()
		case c == '\'' || c == '"':
			if err := s.quoted(c); err != nil {
				return nil, err
			}
		case c == '\\' && s.rest == "":
			return nil, errors.New("nothing follows the backslash at its end; remove it, or write it twice")
		case c == '\\':
			s.add(s.rest[0])
			s.rest = s.rest[1:]
		default:
			s.add(c)
		}
	}
	s.end()
	return s.arguments, nil
}

type splitter struct {
	rest      string
	arguments []string
	current   strings.Builder
	begun     bool // current is an argument, even when it is empty
}

func (s *splitter) add(c byte) {
	s.current.WriteByte(c)
	s.begun = true
}

func (s *splitter) end() {
	if s.begun {
		s.arguments = append(s.arguments, s.current.String())
	}
	s.current.Reset()
	s.begun = false
}

// quoted reads up to the closing quote. Within double quotes, a backslash quotes only itself and the quote.
func (s *splitter) quoted(quote byte) error {
	s.begun = true
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case c == quote:
			return nil
		case c == '\\' && quote == '"' && s.rest != "" && (s.rest[0] == '"' || s.rest[0] == '\\'):
			c = s.rest[0]
			s.rest = s.rest[1:]
		}
		s.add(c)
	}
	return errors.New("a quote is not closed; close it, or write it with a backslash")
}
