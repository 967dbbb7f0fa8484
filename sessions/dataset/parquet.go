package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// table is a Parquet file. Single columns of it are read, page by page, so that its size does not matter.
type table struct {
	path   string
	opened *os.File
	file   *parquet.File
}

func openTable(path string) (t *table, err error) {
	defer recoverTable(path, &err)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	opened, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(opened, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not a Parquet file: %w", path, err), opened.Close())
	}
	return &table{path: path, opened: opened, file: file}, nil
}

func (t *table) close() error { return t.opened.Close() }

// recoverTable makes an error of what the library does with a damaged file.
func recoverTable(path string, err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%s is damaged: %v", path, cause)
	}
}

// tableColumn is a column of texts, of whole numbers, or of lists of them.
type tableColumn struct {
	table *table
	leaf  *parquet.Column
}

// column finds a column by the name that people see, which a list has at the top of its levels.
func (t *table) column(name string, lists bool) (c *tableColumn, err error) {
	defer recoverTable(t.path, &err)
	column := t.file.Root().Column(name)
	if column == nil {
		return nil, fmt.Errorf("%s has no column %q; it has %s", t.path, name, t.columnNames())
	}
	for !column.Leaf() && len(column.Columns()) == 1 {
		column = column.Columns()[0]
	}
	wanted, deepest := "texts or whole numbers", 0
	if lists {
		wanted, deepest = "texts, or lists of texts", 1
	}
	if !column.Leaf() || column.MaxRepetitionLevel() > deepest || !isText(column.Type(), !lists) {
		return nil, fmt.Errorf("column %q of %s holds %s; it must hold %s", name, t.path, describeColumn(t.file.Root().Column(name)), wanted)
	}
	return &tableColumn{t, column}, nil
}

func describeColumn(c *parquet.Column) string {
	if c.Leaf() {
		return c.Type().String()
	}
	return "groups of values"
}

// isText tells whether values can be spelled in one way only.
func isText(t parquet.Type, numbers bool) bool {
	var logical format.LogicalTypeValue
	if l := t.LogicalType(); l != nil {
		logical = l.Value
	}
	_, isNumber := logical.(*format.IntType)
	switch t.Kind() {
	case parquet.ByteArray:
		_, isDecimal := logical.(*format.DecimalType)
		return !isDecimal
	case parquet.Int32, parquet.Int64:
		return numbers && (logical == nil || isNumber)
	}
	return false
}

func (t *table) columnNames() string {
	const most = 20
	var names []string
	for i, column := range t.file.Root().Columns() {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, column.Name())
	}
	return strings.Join(names, ", ")
}

// each visits the values of the rows that are wanted: one, or those of a list; none for a missing one.
func (c *tableColumn) each(ctx context.Context, wanted func(row int64) bool, visit func(row int64, values []string)) (err error) {
	defer recoverTable(c.table.path, &err)
	pages := c.leaf.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	reader := rowReader{row: -1, wanted: wanted, visit: visit, text: spelling(c.leaf.Type())}
	for ctx.Err() == nil {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return reader.end(c.table)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", c.table.path, err)
		}
		err = reader.read(page.Values())
		parquet.Release(page)
		if err != nil {
			return fmt.Errorf("read %s: %w", c.table.path, err)
		}
	}
	return ctx.Err()
}

// spelling turns values of a type into text.
func spelling(t parquet.Type) func(v parquet.Value) string {
	if t.Kind() == parquet.ByteArray {
		return func(v parquet.Value) string { return string(v.ByteArray()) }
	}
	signed := true
	if l := t.LogicalType(); l != nil {
		if number, ok := l.Value.(*format.IntType); ok {
			signed = number.IsSigned
		}
	}
	return func(v parquet.Value) string {
		switch {
		case v.Kind() == parquet.Int32 && signed:
			return strconv.FormatInt(int64(v.Int32()), 10)
		case v.Kind() == parquet.Int32:
			return strconv.FormatUint(uint64(v.Uint32()), 10)
		case signed:
			return strconv.FormatInt(v.Int64(), 10)
		}
		return strconv.FormatUint(v.Uint64(), 10)
	}
}

// rowReader puts the values of one column together to rows.
type rowReader struct {
	row    int64
	keep   bool // the row is wanted
	values []string
	wanted func(row int64) bool
	visit  func(row int64, values []string)
	text   func(parquet.Value) string
}

func (r *rowReader) read(page parquet.ValueReader) error {
	var buffer [256]parquet.Value
	for {
		n, err := page.ReadValues(buffer[:])
		for _, value := range buffer[:n] {
			if value.RepetitionLevel() == 0 {
				r.next()
			}
			if r.keep && !value.IsNull() {
				r.values = append(r.values, r.text(value))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// next ends the row and begins another one.
func (r *rowReader) next() {
	if r.keep {
		r.visit(r.row, r.values)
	}
	r.row++
	r.keep, r.values = r.wanted(r.row), r.values[:0]
}

func (r *rowReader) end(t *table) error {
	if r.keep {
		r.visit(r.row, r.values)
	}
	if rows := t.file.NumRows(); r.row+1 != rows {
		return fmt.Errorf("%s is damaged: a column has %d rows of %d", filepath.Base(t.path), r.row+1, rows)
	}
	return nil
}
