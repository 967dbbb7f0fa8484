package simpletuner

//go:generate go test -run TestOptionsAreDocumented -update .

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// Support says what becomes of an option.
type Support int

// What becomes of an option.
const (
	Implemented Support = iota
	Refused             // would change the result: any value but Default and Fine is a problem
	Hint                // cannot change the result: a notice when it is set
	Unserved            // asks for something beside the training that stepd does not do: a warning when it is set
)

// Row declares one option, or one field of a dataset.
type Row struct {
	Name    string
	Support Support
	Kind    job.Kind
	Default any // nil: none
	Min     float64
	Max     float64 // numbers only; Min == Max == 0: any
	Choices []string
	Fine    []any // of a refused option: values that change nothing
	Doc     string
	Remedy  string // of a refused option: what to do instead; empty: leave it out
	OrFalse bool   // of texts: false means that it is not set, as files of the original have it
	path    string // in the Job or Dataset, when the option is a plain copy
}

var errTrailing = errors.New("something follows the value")

// needs are options that mean something only while another one has a certain value.
var needs = map[string]struct{ option, value string }{
	"lora_type": {"model_type", "lora"}, "lora_rank": {"model_type", "lora"}, "lora_alpha": {"model_type", "lora"},
	"lora_dropout": {"model_type", "lora"}, "init_lora": {"model_type", "lora"},
	"ema_decay": {"use_ema", "true"}, "ema_validation": {"use_ema", "true"},
	"noise_offset": {"offset_noise", "true"}, "noise_offset_probability": {"offset_noise", "true"},
	"lr_scale_sqrt": {"lr_scale", "true"}, "lr_power": {"lr_scheduler", "polynomial"}, "lr_num_cycles": {"lr_scheduler", "cosine_with_restarts"},
	"validation_preview_steps": {"validation_preview", "true"}, "validation_external_background": {"validation_method", "external-script"},
}

// rows are all options by name.
var rows = index(fromJob(""), modelRows, trainRows, validationRows, dataRows, otherRows)

// fields are all fields of a dataset by name.
var fields = index(fromJob(datasetPrefix), datasetRows)

const datasetPrefix = "datasets[]."

// fromJob declares what the job's own table spells for this dialect, below a prefix.
func fromJob(prefix string) []Row {
	var list []Row
	for _, o := range job.Options {
		path, inside := strings.CutPrefix(o.Path, prefix)
		if o.SimpleTuner.Name == "" || !inside || prefix == "" && strings.HasPrefix(o.Path, datasetPrefix) {
			continue
		}
		list = append(list, Row{Name: o.SimpleTuner.Name, Kind: o.Kind, Default: o.SimpleTuner.Default, Min: o.Min, Max: o.Max,
			Choices: o.Choices, Doc: o.Doc, path: path})
	}
	return list
}

func index(lists ...[]Row) map[string]Row {
	all := map[string]Row{}
	for _, list := range lists {
		for _, row := range list {
			all[row.Name] = row
		}
	}
	return all
}

// Rows are all options, by name.
func Rows() []Row {
	var list []Row
	for _, name := range sortedKeys(rows) {
		list = append(list, rows[name])
	}
	return list
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Defaults are the built-in values of all options that have one.
func Defaults() Options {
	defaults := Options{}
	for name, row := range rows {
		if row.Default != nil {
			defaults[name] = row.Default
		}
	}
	return defaults
}

// parse reads a value strictly. The result is nil (not set), bool, int64, float64, string, []string or, for objects, what
// the document holds; the error says what is wrong with the value.
func (r Row) parse(value any, isForm bool) (any, error) {
	if text, ok := value.(string); ok && isForm {
		trimmed := strings.TrimSpace(text)
		switch {
		case trimmed == "None":
			value = nil
		case trimmed == "" && r.Kind != job.Text:
			value = nil
		}
	}
	if value == nil || r.OrFalse && value == false {
		return nil, nil
	}
	switch r.Kind {
	case job.Bool:
		return r.parseBool(value, isForm)
	case job.Int, job.Float:
		return r.parseNumber(value)
	case job.Text:
		return r.parseText(value)
	case job.Texts:
		return r.parseTexts(value)
	default:
		return r.parseObject(value)
	}
}

func (r Row) parseBool(value any, isForm bool) (any, error) {
	if on, ok := value.(bool); ok {
		return on, nil
	}
	if on, ok := asBool(value); ok && isForm {
		return on, nil
	}
	return nil, fmt.Errorf("%s is neither true nor false", values.Show(value))
}

// asBool reads the spellings of the original's command line.
func asBool(value any) (on, ok bool) {
	switch v := value.(type) {
	case bool:
		return v, true
	case json.Number:
		value = v.String()
	case float64:
		value = fmt.Sprint(v)
	}
	text, _ := value.(string)
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "1", "true", "yes", "y", "on":
		return true, true
	case "0", "false", "no", "n", "off":
		return false, true
	}
	return false, false
}

func (r Row) parseNumber(value any) (any, error) {
	number, ok := values.Number(value)
	whole := r.Kind == job.Int
	switch {
	case !ok && whole:
		return nil, fmt.Errorf("%s is not a whole number", values.Show(value))
	case !ok:
		return nil, fmt.Errorf("%s is not a number", values.Show(value))
	case whole && (number != math.Trunc(number) || math.Abs(number) > 1<<53):
		return nil, fmt.Errorf("%s is not a whole number", values.Show(value))
	case r.Min != r.Max && (number < r.Min || number > r.Max):
		return nil, fmt.Errorf("%s is outside %s to %s", values.Show(value), plain(r.Min), plain(r.Max))
	case whole:
		return int64(number), nil
	}
	return number, nil
}

// plain spells a bound without an exponent where that is short.
func plain(number float64) string {
	if number == math.Trunc(number) && math.Abs(number) < 1e15 {
		return fmt.Sprintf("%.0f", number)
	}
	return fmt.Sprintf("%g", number)
}

// maxTextBytes bounds every text; nothing that people write is longer.
const maxTextBytes = 1 << 20

func (r Row) parseText(value any) (any, error) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case float64:
		text = fmt.Sprintf("%v", v)
	default:
		return nil, fmt.Errorf("%s is not a string", values.Show(value))
	}
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s holds characters that are no text (NUL or broken UTF-8); remove them", values.Show(text))
	}
	if len(text) > maxTextBytes {
		return nil, fmt.Errorf("is longer than %d bytes", maxTextBytes)
	}
	if len(r.Choices) > 0 && text != "" && !slices.Contains(r.Choices, text) {
		return nil, fmt.Errorf("%s is not one of %s", values.Show(text), strings.Join(r.Choices, ", "))
	}
	return text, nil
}

func (r Row) parseTexts(value any) (any, error) {
	if text, ok := value.(string); ok {
		return splitList(text), nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a list of strings", values.Show(value))
	}
	texts := make([]string, len(list))
	for i, entry := range list {
		if texts[i], ok = entry.(string); !ok {
			return nil, fmt.Errorf("%s is not a list of strings", values.Show(value))
		}
	}
	return texts, nil
}

// parseObject takes an object, a list, either of them as JSON text, or the path of a file.
func (r Row) parseObject(value any) (any, error) {
	switch v := value.(type) {
	case map[string]any, []any:
		return v, nil
	case string:
		trimmed := strings.TrimSpace(v)
		if strings.IndexAny(trimmed, "{[") != 0 {
			return v, nil
		}
		var document any
		if err := decode([]byte(trimmed), &document); err != nil {
			return nil, fmt.Errorf("%s is not valid JSON: %v", values.Show(v), err)
		}
		return document, nil
	}
	return nil, fmt.Errorf("%s is neither an object nor a list nor the path of a file", values.Show(value))
}

// changes tells whether a parsed value of a refused option asks for something.
func (r Row) changes(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		if !v && r.Default == nil {
			return false
		}
	case string:
		if v == "" {
			return false
		}
	case []any:
		return len(v) > 0
	case []string:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	for _, fine := range append([]any{r.Default}, r.Fine...) {
		if values.Equal(value, fine) {
			return false
		}
	}
	return true
}
