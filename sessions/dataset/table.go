package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/stepd/stepd/sessions/job"
)

// maxCaptions bounds the captions of one picture in a table.
const maxCaptions = 1000

// CheckTable lists what is wrong with a table, without reading its rows. Fields are those of job.Table.
func CheckTable(t *job.Table) []job.Problem {
	columns, problems := openColumns(t)
	if columns != nil {
		_ = columns.file.close() // only read from
	}
	return problems
}

// tableColumns are the columns of a table that are read.
type tableColumns struct {
	file     *table
	names    *tableColumn
	captions []*tableColumn
	fallback *tableColumn // nil: none
}

// openColumns returns nil columns when the file cannot be read.
func openColumns(t *job.Table) (*tableColumns, []job.Problem) {
	file, err := openTable(t.Path)
	if err != nil {
		return nil, []job.Problem{{Field: "path", Message: err.Error()}}
	}
	c := &tableColumns{file: file}
	var problems []job.Problem
	find := func(field, name string, lists bool) *tableColumn {
		column, err := file.column(name, lists)
		if err != nil {
			problems = append(problems, job.Problem{Field: field, Message: err.Error()})
		}
		return column
	}
	c.names = find("filename_column", t.FilenameColumn, false)
	for _, name := range t.CaptionColumns {
		c.captions = append(c.captions, find("caption_column", name, true))
	}
	if t.FallbackColumn != "" {
		c.fallback = find("fallback_caption_column", t.FallbackColumn, true)
	}
	return c, problems
}

// join gives the pictures of a source the captions of their rows; those without a row leave it. It returns remarks, and
// the pictures that have left.
func (s *source) join(ctx context.Context, t *job.Table) (remarks []string, out []Problem, err error) {
	columns, problems := openColumns(t)
	if columns != nil {
		defer func() { _ = columns.file.close() }()
	}
	if len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = "table." + p.String()
		}
		return nil, nil, errors.New(strings.Join(texts, "; "))
	}
	j := newJoin(s, t)
	if err := j.match(ctx, columns.names); err != nil {
		return nil, nil, err
	}
	if err := j.check(); err != nil {
		return nil, nil, err
	}
	for _, column := range columns.captions {
		if err := j.read(ctx, column, func(p *picture) bool { return true }); err != nil {
			return nil, nil, err
		}
	}
	if columns.fallback != nil {
		lacks := map[*picture]bool{}
		for i := range s.pictures {
			lacks[&s.pictures[i]] = len(s.pictures[i].captions) == 0
		}
		if err := j.read(ctx, columns.fallback, func(p *picture) bool { return lacks[p] }); err != nil {
			return nil, nil, err
		}
	}
	remarks, out = j.leaveOut()
	return remarks, out, nil
}

// join is the state of source.join. Rows are kept for pictures that are there, whatever the length of the table.
type join struct {
	source    *source
	table     *job.Table
	byPath    map[string][]int // pictures by their path below the folder, as the table would spell it
	byName    map[string][]int // the same without folders
	rows      map[int64][]int  // pictures of a row
	found     []found          // by picture
	unmatched int64            // rows without a picture
	example   string           // the first of them, or of all rows
}

// found is the row of a picture.
type found struct {
	row     int64 // -1: none
	byPath  bool
	another int64 // row that names the picture as well; -1: none
}

func newJoin(s *source, t *job.Table) *join {
	j := &join{source: s, table: t, byPath: map[string][]int{}, byName: map[string][]int{}, rows: map[int64][]int{}, found: make([]found, len(s.pictures))}
	for i, p := range s.pictures {
		name := j.spell(p.name)
		j.byPath[name] = append(j.byPath[name], i)
		j.byName[path.Base(name)] = append(j.byName[path.Base(name)], i)
		j.found[i] = found{row: -1, another: -1}
	}
	return j
}

// spell is how the table names a picture.
func (j *join) spell(name string) string {
	if j.table.WithExtension {
		return name
	}
	return stem(name)
}

// match finds the row of each picture.
func (j *join) match(ctx context.Context, names *tableColumn) error {
	all := func(int64) bool { return true }
	return names.each(ctx, all, func(row int64, values []string) {
		if len(values) == 0 {
			return // a row without a name
		}
		pictures, byPath := j.byPath[values[0]], true
		if len(pictures) == 0 {
			pictures, byPath = j.byName[values[0]], false
		}
		if len(pictures) == 0 {
			if j.unmatched == 0 {
				j.example = values[0]
			}
			j.unmatched++
		}
		for _, i := range pictures {
			switch f := &j.found[i]; {
			case f.row < 0 || byPath && !f.byPath:
				*f = found{row: row, byPath: byPath, another: -1}
			case byPath == f.byPath:
				f.another = row
			}
		}
	})
}

// check collects the rows that are wanted, and refuses a table that names no picture.
func (j *join) check() error {
	for i, f := range j.found {
		p := &j.source.pictures[i]
		switch {
		case f.another >= 0:
			p.problem = fmt.Sprintf("rows %d and %d of %s both name it; keep one", f.row+1, f.another+1, j.table.Path)
		case f.row >= 0:
			j.rows[f.row] = append(j.rows[f.row], i)
		}
	}
	if len(j.rows) > 0 || len(j.source.pictures) == 0 {
		return nil
	}
	for _, p := range j.source.pictures {
		if p.problem != "" {
			return nil // which is the reason
		}
	}
	return fmt.Errorf("table.filename_column: no row of %s names a picture of %s: column %q holds for example %q, and a picture would be %q; name the right column, or set identifier_includes_extension to %v",
		j.table.Path, j.source.folder, j.table.FilenameColumn, j.example, j.spell(j.source.pictures[0].name), !j.table.WithExtension)
}

// read adds the captions of a column to the pictures that want them.
func (j *join) read(ctx context.Context, column *tableColumn, wants func(*picture) bool) error {
	wanted := func(row int64) bool { return len(j.rows[row]) > 0 }
	return column.each(ctx, wanted, func(row int64, values []string) {
		for _, i := range j.rows[row] {
			if p := &j.source.pictures[i]; wants(p) {
				j.add(p, row, values)
			}
		}
	})
}

func (j *join) add(p *picture, row int64, values []string) {
	for _, text := range values {
		switch text = strings.TrimSpace(text); {
		case text == "":
		case !utf8.ValidString(text):
			p.problem = fmt.Sprintf("its caption in row %d of %s is not UTF-8 text", row+1, j.table.Path)
		case len(text) > maxCaptionBytes || len(p.captions) == maxCaptions:
			p.problem = fmt.Sprintf("row %d of %s has more than %d captions, or one of more than %d bytes", row+1, j.table.Path, maxCaptions, maxCaptionBytes)
		default:
			p.captions = append(p.captions, text)
		}
	}
}

// leaveOut removes the pictures that have no row.
func (j *join) leaveOut() (remarks []string, out []Problem) {
	s, table := j.source, filepath.Base(j.table.Path)
	var kept []picture
	for i, p := range s.pictures {
		if j.found[i].row >= 0 {
			kept = append(kept, p)
			continue
		}
		out = append(out, Problem{s.path(p.name), "has no row in " + table})
	}
	if len(out) > 0 {
		remarks = append(remarks, fmt.Sprintf("%d of %d pictures have no row in %s and are left out; the first: %s", len(out), len(s.pictures), table, out[0].Path))
	}
	if j.unmatched > 0 {
		remarks = append(remarks, fmt.Sprintf("%d rows of %s name no picture that is there; the first: %q", j.unmatched, table, j.example))
	}
	s.pictures = kept
	return remarks, out
}
