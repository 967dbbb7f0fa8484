package simpletuner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// writeTable writes a table of the columns id, caption and tags.
func writeTable(t *testing.T, path string) {
	t.Helper()
	type row struct {
		ID      int64    `parquet:"id"`
		Caption string   `parquet:"caption"`
		Tags    []string `parquet:"tags,list"`
		Score   float64  `parquet:"score"`
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, parquet.WriteFile(path, []row{{ID: 1, Caption: "one", Tags: []string{"a", "b"}}}))
}

func TestTables(t *testing.T) {
	roots := makeRoots(t)
	beside, among := filepath.Join(roots.Datasets, "demo", "beside.parquet"), filepath.Join(roots.Datasets, "tables", "among.parquet")
	writeTable(t, beside)
	writeTable(t, among)
	both := func(table map[string]any) map[string]any {
		return map[string]any{"caption_strategy": "parquet", "metadata_backend": "parquet", "parquet": table}
	}
	for _, test := range []struct {
		name    string
		changes map[string]any
		want    *job.Table
		notice  string
		warning string
	}{
		{"beside the pictures", both(map[string]any{"path": "beside.parquet", "caption_column": "caption"}),
			&job.Table{Path: beside, FilenameColumn: "id", CaptionColumns: []string{"caption"}}, "", ""},
		{"among the datasets", both(map[string]any{"path": "tables/among.parquet", "caption_column": []any{"caption", "tags"}, "identifier_includes_extension": true}),
			&job.Table{Path: among, FilenameColumn: "id", CaptionColumns: []string{"caption", "tags"}, WithExtension: true}, "", ""},
		{"absolute, with sizes", both(map[string]any{"path": among, "filename_column": "id", "caption_column": "tags", "fallback_caption_column": "caption", "width_column": "w", "height_column": "h", "fps_column": "f"}),
			&job.Table{Path: among, FilenameColumn: "id", CaptionColumns: []string{"tags"}, FallbackColumn: "caption"},
			"dataset demo: parquet.width_column and height_column have no effect", "dataset demo: parquet.fps_column is not a field"},
		{"captions only", map[string]any{"caption_strategy": "parquet", "parquet": map[string]any{"path": among, "caption_column": "caption"}},
			&job.Table{Path: among, FilenameColumn: "id", CaptionColumns: []string{"caption"}}, "", ""},
		{"the list only", map[string]any{"metadata_backend": "parquet", "parquet": map[string]any{"path": among, "caption_column": "caption"}},
			&job.Table{Path: among, FilenameColumn: "id"}, "", ""},
		{"unused", map[string]any{"parquet": map[string]any{"path": "no.parquet"}}, nil, "dataset demo: parquet has no effect without", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := withDataset(t, roots, test.changes)
			require.NoError(t, err)
			d := got.Job.Datasets[0]
			require.Equal(t, test.want, d.Table)
			require.Equal(t, test.changes["caption_strategy"] == "parquet", d.Captions == job.CaptionsTable)
			require.Contains(t, strings.Join(got.Notices, "\n"), test.notice)
			require.Contains(t, strings.Join(got.Warnings, "\n"), test.warning)
		})
	}
}

func TestTablesThatAreRefused(t *testing.T) {
	roots := makeRoots(t)
	writeTable(t, filepath.Join(roots.Datasets, "demo", "t.parquet"))
	for _, test := range []struct {
		table   any
		problem string
	}{
		{nil, "dataset demo: parquet: is missing"},
		{[]any{}, "dataset demo: parquet: "},
		{map[string]any{"caption_column": "caption"}, "dataset demo: parquet.path: is missing"},
		{map[string]any{"path": "../t.parquet", "caption_column": "caption"}, "dataset demo: parquet.path: \"../t.parquet\" leads out"},
		{map[string]any{"path": "t.jsonl", "caption_column": "caption"}, "dataset demo: parquet.path: \"t.jsonl\" is not supported by this version"},
		{map[string]any{"path": "none.parquet", "caption_column": "caption"}, "dataset demo: parquet.path: stat "},
		{map[string]any{"path": "t.parquet"}, "dataset demo: parquet.caption_column: is missing"},
		{map[string]any{"path": "t.parquet", "caption_column": "caption", "filename_column": ""}, "dataset demo: parquet.filename_column: is empty"},
		{map[string]any{"path": "t.parquet", "caption_column": []any{3}}, "dataset demo: parquet.caption_column: 3 is not the name of a column"},
		{map[string]any{"path": "t.parquet", "caption_column": map[string]any{"a": 1}}, "dataset demo: parquet.caption_column: "},
		{map[string]any{"path": "t.parquet", "caption_column": "text"}, "dataset demo: parquet.caption_column: " + filepath.Join(roots.Datasets, "demo", "t.parquet") + " has no column \"text\"; it has id, caption, tags, score"},
		{map[string]any{"path": "t.parquet", "caption_column": "caption", "filename_column": "score"}, "dataset demo: parquet.filename_column: column \"score\""},
		{map[string]any{"path": "t.parquet", "caption_column": "caption", "identifier_includes_extension": "perhaps"}, "dataset demo: parquet.identifier_includes_extension: \"perhaps\" is neither true nor false"},
	} {
		_, err := withDataset(t, roots, map[string]any{"caption_strategy": "parquet", "parquet": test.table})
		require.ErrorContains(t, err, test.problem, "%v", test.table)
	}
}
