package simpletuner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// fieldsOf lists the fields that an error complains about.
func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	var fields []string
	for _, problem := range invalid.Problems {
		require.NotEmpty(t, problem.Message)
		fields = append(fields, problem.Field)
	}
	return fields
}

// goodValue is one that the row takes, as a form sends it; "" where the row's own rules are tested elsewhere.
func goodValue(row Row) string {
	switch {
	case row.Default != nil:
		return fmt.Sprint(row.Default)
	case len(row.Choices) > 0:
		return row.Choices[0]
	case row.Support == Refused && len(row.Fine) > 0:
		return fmt.Sprint(row.Fine[0])
	case row.Support == Refused:
		return ""
	}
	switch row.Kind {
	case job.Bool:
		return "off"
	case job.Int, job.Float:
		return plain(row.Min)
	}
	return ""
}

// badValues are what no row of that kind takes.
func badValues(row Row) []string {
	switch row.Kind {
	case job.Bool:
		return []string{"maybe", "2", "truee", "[true]"}
	case job.Int:
		return []string{"1.5", "abc", "NaN", "0x10", "1e400", "1_000", "--1", "9007199254740993e3"}
	case job.Float:
		return []string{"abc", "NaN", "inf", "-Infinity", "0x1p-2", "1e400", "1,5"}
	case job.Object:
		return []string{"{broken", "[1,"}
	case job.Text:
		if len(row.Choices) > 0 {
			return []string{"no-such-choice", "a\x00b"}
		}
		return []string{"a\x00b", "a\xffb"}
	}
	return nil
}

// dependent options are good only together with others; they have tests of their own.
var dependent = map[string]bool{"num_train_epochs": true, "max_train_steps": true, "optimizer_beta1": true, "optimizer_beta2": true, "deepspeed_config": true}

func TestEveryOptionTakesGoodValues(t *testing.T) {
	roots := makeRoots(t)
	for _, name := range sortedKeys(rows) {
		row := rows[name]
		if value := goodValue(row); value != "" && !dependent[name] {
			_, err := translate(t, roots, map[string]string{name: value})
			require.Empty(t, fieldsOf(t, err), "--%s=%s", name, value)
		}
	}
}

func TestEveryOptionRefusesBadValues(t *testing.T) {
	roots := makeRoots(t)
	for _, name := range sortedKeys(rows) {
		for _, value := range badValues(rows[name]) {
			_, err := translate(t, roots, map[string]string{name: value})
			require.Contains(t, fieldsOf(t, err), "--"+name, "%q", value)
		}
		if row := rows[name]; row.Min != row.Max {
			for _, value := range []string{plain(row.Min - 1), fmt.Sprint(row.Max*2 + 1)} {
				_, err := translate(t, roots, map[string]string{name: value})
				require.Contains(t, fieldsOf(t, err), "--"+name, "%q", value)
			}
		}
	}
}

// otherValue is one that a refused row does not take.
func otherValue(row Row) any {
	switch row.Kind {
	case job.Bool:
		return row.Default == nil || row.Default == false
	case job.Int, job.Float:
		for _, candidate := range []float64{0.5, 2, 3, 4, 5} {
			if _, err := row.parse(candidate, true); err == nil && row.changes(candidate) {
				return candidate
			}
		}
	case job.Text:
		for _, candidate := range append([]string{"something"}, row.Choices...) {
			if _, err := row.parse(candidate, true); err == nil && row.changes(candidate) {
				return candidate
			}
		}
	}
	return map[string]any{"some": "thing"}
}

func TestEveryOptionIsWhatItsRowSays(t *testing.T) {
	roots := makeRoots(t)
	base, _ := FromForm(fastPath())
	for _, name := range sortedKeys(rows) {
		row := rows[name]
		if row.Support == Implemented || name == "deepspeed_config" {
			continue
		}
		value := otherValue(row)
		got, err := Translate(Request{Options: base.Merge(Options{name: value}), Roots: roots})
		switch row.Support {
		case Refused:
			require.Equal(t, []string{"--" + name}, fieldsOf(t, err))
		case Unserved:
			require.NoError(t, err, name)
			require.Contains(t, strings.Join(got.Warnings, "\n"), "--"+name+" ")
		case Hint:
			require.NoError(t, err, name)
			require.Contains(t, strings.Join(got.Notices, "\n"), "--"+name+" ")
			require.Empty(t, got.Warnings)
		}
		require.NotEmpty(t, row.Doc, name)
	}
}

func TestEveryNameIsDeclaredOnce(t *testing.T) {
	require.Len(t, slices.Concat(fromJob(""), modelRows, trainRows, validationRows, dataRows, otherRows), len(rows))
	require.Len(t, slices.Concat(fromJob(datasetPrefix), datasetRows), len(fields))
	for name, need := range needs {
		require.Contains(t, rows, name)
		require.Contains(t, rows, need.option)
	}
	for _, name := range renamed {
		require.Contains(t, rows, name)
	}
	for _, name := range made {
		require.Contains(t, rows, name)
	}
}

// Every option that is called implemented is read by name somewhere, or copied by its path.
func TestNoOptionIsReadAndIgnored(t *testing.T) {
	var code strings.Builder
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasPrefix(file, "table_") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		code.Write(text)
	}
	for _, table := range []map[string]Row{rows, fields} {
		for _, name := range sortedKeys(table) {
			if row := table[name]; row.Support == Implemented && row.path == "" {
				require.True(t, strings.Contains(code.String(), `"`+name+`"`), name)
			}
		}
	}
}

// Every path of a row names a field of the Job or Dataset, so that nothing is copied to nowhere.
func TestPathsExist(t *testing.T) {
	for _, target := range []struct {
		table map[string]Row
		value any
	}{{rows, job.Job{}}, {fields, job.Dataset{}}} {
		for name, row := range target.table {
			if row.path == "" {
				continue
			}
			document := map[string]any{}
			value := map[job.Kind]any{job.Bool: true, job.Int: 3, job.Float: 3.5, job.Text: "x"}[row.Kind]
			put(document, row.path, value)
			data, err := json.Marshal(document)
			require.NoError(t, err)
			decoder := json.NewDecoder(strings.NewReader(string(data)))
			decoder.DisallowUnknownFields()
			switch target.value.(type) {
			case job.Job:
				err = decoder.Decode(&job.Job{})
			default:
				err = decoder.Decode(&job.Dataset{})
			}
			require.NoError(t, err, name)
		}
	}
}

func put(document map[string]any, path string, value any) {
	key, rest, nested := strings.Cut(path, ".")
	if !nested {
		document[key] = value
		return
	}
	inner := map[string]any{}
	document[key] = inner
	put(inner, rest, value)
}

// withDataset translates the fast path with one field of its dataset changed; nil takes the field out.
func withDataset(t *testing.T, roots Roots, changes map[string]any) (*Translation, error) {
	t.Helper()
	entry := map[string]any{"id": "demo", "type": "local", "dataset_type": "image", "instance_data_dir": "demo", "caption_strategy": "filename"}
	for name, value := range changes {
		if value == nil {
			delete(entry, name)
		} else {
			entry[name] = value
		}
	}
	data, err := json.Marshal([]any{entry, map[string]any{"id": "text", "type": "local", "dataset_type": "text_embeds", "default": true}})
	require.NoError(t, err)
	writeConfig(t, roots, "changed.json", string(data))
	return translate(t, roots, map[string]string{"data_backend_config": "changed.json"})
}

func TestEveryFieldOfADatasetIsChecked(t *testing.T) {
	roots := makeRoots(t)
	wrong := map[job.Kind][]any{
		job.Bool: {"true", 1, []any{}, map[string]any{"a": 1}}, job.Int: {1.5, "abc", true, []any{1}, "NaN"},
		job.Float: {"abc", true, []any{1}, map[string]any{}}, job.Text: {true, []any{"a"}, map[string]any{"a": 1}},
		job.Object: {true, 3},
	}
	for _, name := range sortedKeys(fields) {
		row := fields[name]
		values := wrong[row.Kind]
		if row.Min != row.Max {
			values = append(values, row.Min-1, row.Max+1)
		}
		if len(row.Choices) > 0 {
			values = append(values, "no-such-choice")
		}
		require.NotEmpty(t, values, name)
		for _, value := range values {
			got, err := withDataset(t, roots, map[string]any{name: value})
			if name == "id" {
				require.Error(t, err)
				continue
			}
			require.Contains(t, fieldsOf(t, err), "dataset demo: "+name, "%v: %+v", value, got)
		}
		switch value := otherValue(row); row.Support {
		case Refused:
			_, err := withDataset(t, roots, map[string]any{name: value})
			require.Equal(t, []string{"dataset demo: " + name}, fieldsOf(t, err))
		case Hint:
			got, err := withDataset(t, roots, map[string]any{name: value})
			require.NoError(t, err)
			require.Contains(t, strings.Join(got.Notices, "\n"), "dataset demo: "+name)
		}
		if row.Default != nil {
			_, err := withDataset(t, roots, map[string]any{name: row.Default})
			require.NoError(t, err, name)
		}
	}
}

func TestAllProblemsComeAtOnce(t *testing.T) {
	roots := makeRoots(t)
	_, err := translate(t, roots, map[string]string{"model_family": "flux", "train_batch_size": "1.5", "learning_rate": "fast", "optimizer": "optimi-lion",
		"output_dir": "../up", "data_backend_config": "../../etc/passwd", "max_train_steps": "0", "lora_type": "lycoris", "model_type": "lora"})
	require.Equal(t, []string{"--data_backend_config", "--learning_rate", "--lora_type", "--max_train_steps", "--model_family", "--optimizer",
		"--output_dir", "--train_batch_size"}, fieldsOf(t, err))
	var invalid *job.Invalid
	require.True(t, errors.As(err, &invalid))
	for _, problem := range invalid.Problems {
		require.Contains(t, err.Error(), problem.String())
	}
}
