package dataset

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// The tables in testdata were written by Apache Arrow for Python: the same rows, in row groups, pages and encodings of all sorts.
var arrowTables = []string{filepath.Join("testdata", "table.parquet"), filepath.Join("testdata", "table-v2.parquet")}

// listed makes a folder of five pictures: a.png, sub/b.png, c.png, d.png and e.png, and a dataset of the table.
func listed(t *testing.T, table job.Table) job.Dataset {
	t.Helper()
	picture := pngBytes(t, 16, 16)
	dir := writeFolder(t, map[string]string{"a.png": picture, "sub/b.png": picture, "c.png": picture, "d.png": picture, "e.png": picture,
		"a.txt": "from the file", "10.png": picture, "255.png": picture})
	d := job.Dataset{ID: "d", Folder: dir, Resolution: 16, Table: &table, Captions: job.CaptionsTable, DropUncaptioned: true}
	if len(table.CaptionColumns) == 0 {
		d.Captions, d.DropUncaptioned = job.CaptionsFilename, false
	}
	return d
}

func TestCaptionsOfTables(t *testing.T) {
	for _, tt := range []struct {
		name    string
		table   job.Table
		want    []string // captions, by picture
		remarks []string
	}{
		{"names without folders", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"caption"}}, []string{"a.png a red square", "e.png five", "sub/b.png two"},
			[]string{"dataset d: 2 of 7 pictures have no row in %s and are left out; the first: 10.png", `dataset d: 1 rows of %s name no picture that is there; the first: "gone"`}},
		{"paths with extensions", job.Table{FilenameColumn: "name", WithExtension: true, CaptionColumns: []string{"caption"}, FallbackColumn: "tags"},
			[]string{"a.png a red square", "c.png green", "sub/b.png two"}, nil},
		{"lists", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"captions"}, FallbackColumn: "caption"},
			[]string{"a.png one", "a.png (caption 2) eins", "d.png vier", "e.png five", "sub/b.png two"}, nil},
		{"several columns", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"caption", "tags"}},
			[]string{"a.png a red square", "a.png (caption 2) red", "c.png green", "e.png five", "sub/b.png two", "sub/b.png (caption 2) blue"}, nil},
		{"numbers", job.Table{FilenameColumn: "id", CaptionColumns: []string{"caption"}}, []string{"10.png a red square"}, nil},
		{"numbers without sign", job.Table{FilenameColumn: "u8", CaptionColumns: []string{"tags"}}, []string{"255.png x"}, nil},
		{"the table only lists", job.Table{FilenameColumn: "stem"}, []string{"a.png a", "c.png c", "d.png d", "e.png e", "sub/b.png b"}, nil},
	} {
		for _, path := range arrowTables {
			t.Run(tt.name, func(t *testing.T) {
				tt.table.Path = path
				d := listed(t, tt.table)
				m, err := build(t, Request{Datasets: []job.Dataset{d}})
				require.NoError(t, err)
				var got []string
				for _, s := range m.Samples {
					got = append(got, strings.TrimPrefix(s.ID, "d/")+" "+s.Caption)
				}
				assert.Equal(t, tt.want, got)
				for i, remark := range tt.remarks {
					want := fmt.Sprintf(remark, filepath.Base(path))
					assert.Equal(t, want, strings.ReplaceAll(m.Warnings[i], d.Folder+"/", ""))
				}
			})
		}
	}
}

func TestTablesThatAreRefused(t *testing.T) {
	noTable := filepath.Join(t.TempDir(), "no.parquet")
	require.NoError(t, os.WriteFile(noTable, []byte("PAR1, but not really PAR1"), 0o600))
	for _, tt := range []struct {
		name  string
		table job.Table
		want  []string
	}{
		{"no file", job.Table{Path: "/no/such.parquet", FilenameColumn: "stem"}, []string{"path: stat /no/such.parquet: no such file"}},
		{"a folder", job.Table{Path: t.TempDir(), FilenameColumn: "stem"}, []string{"is not a regular file"}},
		{"not a table", job.Table{Path: noTable, FilenameColumn: "stem"}, []string{"no.parquet is not a Parquet file"}},
		{"no columns", job.Table{FilenameColumn: "file", CaptionColumns: []string{"text"}, FallbackColumn: "more"}, []string{
			`filename_column: testdata/table.parquet has no column "file"; it has id, name, stem, caption, captions, tags`,
			`caption_column: testdata/table.parquet has no column "text"`, `fallback_caption_column: testdata/table.parquet has no column "more"`}},
		{"numbers that are no names", job.Table{FilenameColumn: "score"}, []string{`filename_column: column "score" of testdata/table.parquet holds DOUBLE; it must hold texts or whole numbers`}},
		{"times", job.Table{FilenameColumn: "when"}, []string{`holds TIMESTAMP`}},
		{"lists of names", job.Table{FilenameColumn: "captions"}, []string{"holds groups of values; it must hold texts or whole numbers"}},
		{"groups", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"nested"}}, []string{"caption_column: column \"nested\" of testdata/table.parquet holds groups of values; it must hold texts, or lists of texts"}},
		{"lists of lists", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"matrix"}}, []string{"column \"matrix\""}},
		{"numbers as captions", job.Table{FilenameColumn: "stem", CaptionColumns: []string{"width"}}, []string{"caption_column: column \"width\""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.table.Path == "" {
				tt.table.Path = arrowTables[0]
			}
			problems := CheckTable(&tt.table)
			require.Len(t, problems, len(tt.want))
			_, err := build(t, Request{Datasets: []job.Dataset{listed(t, tt.table)}})
			for i, want := range tt.want {
				assert.Contains(t, problems[i].String(), want)
				assert.ErrorContains(t, err, "dataset d: table.")
				assert.ErrorContains(t, err, problems[i].String())
			}
		})
	}
}

// writeTable writes rows with the library that reads them.
func writeTable[T any](t *testing.T, rows []T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.parquet")
	require.NoError(t, parquet.WriteFile(path, rows))
	return path
}

type row struct{ Name, Caption string }

func TestRowsThatDoNotFit(t *testing.T) {
	for _, tt := range []struct {
		name string
		rows []row
		want string
	}{
		{"nothing matches", []row{{"a.png", "x"}, {"b.png", "y"}}, `table.filename_column: no row of PATH names a picture of FOLDER: column "Name" holds for example "a.png", and a picture would be "10"; name the right column, or set identifier_includes_extension to true`},
		{"two rows of a picture", []row{{"a", "x"}, {"c", "y"}, {"a", "z"}}, "a.png: rows 1 and 3 of PATH both name it; keep one"},
		{"only that", []row{{"a", "x"}, {"a", "z"}}, "rows 1 and 2 of PATH both name it"},
		{"broken text", []row{{"a", "\xff"}, {"c", "y"}}, "a.png: its caption in row 1 of PATH is not UTF-8 text"},
		{"an endless caption", []row{{"c", "y"}, {"a", strings.Repeat("x", maxCaptionBytes+1)}}, "a.png: row 2 of PATH has more than 1000 captions, or one of more than 1048576 bytes"},
		{"no captions", []row{{"a", ""}, {"c", " "}}, "no picture is left to train on: 0 bad, 7 outside the limits; the first: FOLDER/10.png: has no row in own.parquet"},
		{"empty", nil, "no row of PATH names a picture"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := listed(t, job.Table{Path: writeTable(t, tt.rows), FilenameColumn: "Name", CaptionColumns: []string{"Caption"}})
			_, err := build(t, Request{Datasets: []job.Dataset{d}})
			assert.ErrorContains(t, err, strings.NewReplacer("PATH", d.Table.Path, "FOLDER", d.Folder).Replace(tt.want))
		})
	}
}

// A row that names the path of a picture comes before one that names its file alone.
func TestPathsInTablesComeFirst(t *testing.T) {
	d := listed(t, job.Table{Path: writeTable(t, []row{{"b", "by its name"}, {"sub/b", "by its path"}, {"b", "again"}}), FilenameColumn: "Name", CaptionColumns: []string{"Caption"}})
	m, err := build(t, Request{Datasets: []job.Dataset{d}})
	require.NoError(t, err)
	assert.Equal(t, []string{"by its path"}, captions(m))
}

// Whatever bits of a table are wrong, reading it ends with an error or with captions.
func TestDamagedTablesDoNotPanic(t *testing.T) {
	whole, err := os.ReadFile(arrowTables[0])
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	d := listed(t, job.Table{Path: filepath.Join(t.TempDir(), "damaged.parquet"), FilenameColumn: "stem", CaptionColumns: []string{"captions"}, FallbackColumn: "tags"})
	failures := 0
	for range 300 {
		damaged := bytes.Clone(whole)
		for range 1 + random.IntN(4) {
			damaged[random.IntN(len(damaged))] ^= 1 << random.IntN(8)
		}
		require.NoError(t, os.WriteFile(d.Table.Path, damaged, 0o600))
		if _, err := build(t, Request{Datasets: []job.Dataset{d}}); err != nil {
			failures++
		}
	}
	assert.Greater(t, failures, 10)
}

func TestReadingATableCanBeCutShort(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := listed(t, job.Table{Path: arrowTables[0], FilenameColumn: "stem"})
	_, err := Build(ctx, Request{Datasets: []job.Dataset{d}, Prober: goProber{}, BucketStep: 8})
	assert.ErrorIs(t, err, context.Canceled)
}
