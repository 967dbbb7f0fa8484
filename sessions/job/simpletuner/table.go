package simpletuner

import (
	"path/filepath"

	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

const tableStrategy = "parquet" // of captions and of metadata

// tableFields are what the object parquet may say.
var tableFields = map[string]Row{
	"path":                          {Kind: job.Text},
	"filename_column":               {Kind: job.Text, Default: "id"},
	"caption_column":                {Kind: job.Object},
	"fallback_caption_column":       {Kind: job.Text},
	"identifier_includes_extension": {Kind: job.Bool, Default: false},
	"width_column":                  {Kind: job.Text},
	"height_column":                 {Kind: job.Text},
}

// table translates the object parquet, if captions or the list of pictures come from it.
func (e *entry) table(d *job.Dataset) {
	t := e.t
	captions, listed := d.Captions == job.CaptionsTable, e.text("metadata_backend") == tableStrategy
	object, isObject := e.values["parquet"].(map[string]any)
	switch {
	case e.values["parquet"] != nil && !isObject:
		t.refuse(e.field("parquet"), "%s is not an object", values.Show(e.values["parquet"]))
		return
	case !captions && !listed:
		if isObject {
			t.notice("%s has no effect without caption_strategy or metadata_backend parquet", e.field("parquet"))
		}
		return
	case !isObject:
		t.refuse(e.field("parquet"), "is missing; it names the table: path, filename_column, caption_column")
		return
	}
	before := len(t.problems)
	table := e.readTable(object)
	if captions && len(table.CaptionColumns) == 0 {
		t.refuse(e.field("parquet.caption_column"), "is missing; name the column that holds captions")
	}
	if !captions {
		table.CaptionColumns, table.FallbackColumn = nil, ""
	}
	if len(t.problems) > before {
		return
	}
	for _, problem := range dataset.CheckTable(table) {
		t.refuse(e.field("parquet."+problem.Field), "%s", problem.Message)
	}
	d.Table = table
}

// object checks every field of a field that is an object itself, and fills in defaults.
func (e *entry) object(field string, object map[string]any, rows map[string]Row) map[string]any {
	read := map[string]any{}
	for name, row := range rows {
		if row.Default != nil {
			read[name] = row.Default
		}
	}
	for _, name := range sortedKeys(object) {
		path := e.field(field + "." + name)
		row, known := rows[name]
		if !known {
			e.t.warn("%s is not a field that this program knows; it has no effect", short(path))
			continue
		}
		if value, ok := e.t.read(row, path, object[name], false); ok && value != nil {
			read[name] = value
		}
	}
	return read
}

func (e *entry) readTable(object map[string]any) *job.Table {
	t, read := e.t, e.object("parquet", object, tableFields)
	if read["width_column"] != nil || read["height_column"] != nil {
		t.notice("%s and height_column have no effect: sizes are read from the pictures", e.field("parquet.width_column"))
	}
	text := func(name string) string {
		text, _ := read[name].(string)
		return text
	}
	table := &job.Table{Path: e.tablePath(text("path")), FilenameColumn: text("filename_column"), FallbackColumn: text("fallback_caption_column")}
	if table.FilenameColumn == "" {
		t.refuse(e.field("parquet.filename_column"), "is empty; name the column that holds the names of pictures")
	}
	table.WithExtension, _ = read["identifier_includes_extension"].(bool)
	switch columns := read["caption_column"].(type) {
	case string:
		table.CaptionColumns = []string{columns}
	case []any:
		for _, column := range columns {
			name, ok := column.(string)
			if !ok || name == "" {
				t.refuse(e.field("parquet.caption_column"), "%s is not the name of a column", values.Show(column))
				break
			}
			table.CaptionColumns = append(table.CaptionColumns, name)
		}
	case map[string]any:
		t.refuse(e.field("parquet.caption_column"), "%s is neither the name of a column nor a list of names", values.Show(columns))
	}
	return table
}

// tablePath finds the file: relative paths start at the folder of pictures, or else at that of datasets.
func (e *entry) tablePath(path string) string {
	field := e.field("parquet.path")
	switch extension := filepath.Ext(path); {
	case path == "":
		e.t.refuse(field, "is missing; name a Parquet file")
	case extension == ".json" || extension == ".jsonl":
		e.t.refuse(field, "%q is not supported by this version, which reads Parquet files; convert it, or use caption_strategy textfile", path)
	case filepath.IsAbs(path):
		e.t.allowed(field, path)
	case !filepath.IsLocal(path):
		e.t.refuse(field, "%q leads out of the folder of datasets; name a file inside it, or an absolute path", path)
	default:
		folder := e.dataFolder()
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(e.t.request.Roots.Datasets, folder)
		}
		beside := filepath.Join(folder, path)
		if _, err := e.t.request.Roots.Limit.Stat(beside); err == nil {
			return beside
		}
		path = filepath.Join(e.t.request.Roots.Datasets, path)
		e.t.allowed(field, path)
	}
	return path
}
