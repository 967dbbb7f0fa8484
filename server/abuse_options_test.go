package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// takesJob tells whether the body of a route holds a job of AI-Toolkit.
func (r Route) takesJob() bool { return r.Method == http.MethodPost && r.Path == "/sessions" }

// wrongOption is a job of AI-Toolkit with an option of the option table that has no such value.
func (g *abuser) wrongOption(route Route) (badRequest, bool) {
	if !route.takesJob() {
		return badRequest{}, false
	}
	option := pick(g, job.Options...)
	if option.AIToolkit.Name == "" {
		return badRequest{}, false
	}
	value, possible := g.wrongValue(option.Kind, option.Min, option.Max, option.Choices)
	document := clone(g.job)
	section := document["config"].(map[string]any)["process"].([]any)[0].(map[string]any)
	if strings.HasPrefix(option.Path, "datasets[].") {
		section = section["datasets"].([]any)[0].(map[string]any)
	}
	words := strings.Split(option.AIToolkit.Name, ".")
	for _, word := range words[:len(words)-1] {
		inner, ok := section[word].(map[string]any)
		if !ok {
			inner = map[string]any{}
			section[word] = inner
		}
		section = inner
	}
	name := words[len(words)-1]
	section[name] = value
	return badRequest{method: route.Method, path: route.Path, body: encode(map[string]any{"config": document}), names: name}, possible
}

// wrongValue is a value that an option of this kind and these bounds cannot have.
func (g *abuser) wrongValue(kind job.Kind, least, most float64, choices []string) (any, bool) {
	if least != most && g.IntN(3) == 0 {
		return pick[any](g, least-1, json.Number(fmt.Sprintf("%.0f", most+max(1, most/1e6))), json.Number("1e400")), true
	}
	if len(choices) > 0 && g.IntN(2) == 0 {
		return pick[any](g, "nothing", "l2\x00", "L2 ", strings.Repeat("x", 70_000)), true
	}
	value := pick(g, wrongValues[kind]...)
	number, isInt := value.(int)
	if isNumber := kind == job.Int || kind == job.Float; isInt && isNumber {
		return value, least != most && (float64(number) < least || float64(number) > most)
	}
	return value, true
}

func clone(document map[string]any) map[string]any {
	var copied map[string]any
	if err := json.Unmarshal([]byte(encode(document)), &copied); err != nil {
		panic(err) // encode made it
	}
	return copied
}

// wrongTexts are no values of a kind in a form.
var wrongTexts = map[job.Kind][]string{
	job.Int:    {"many", "1.5", "1e400", "NaN", "Infinity", "0x10", "--1", "1 000", "9007199254740994", "１", strings.Repeat("9", 5000), "\x00", "\xff"},
	job.Float:  {"fast", "1e400", "NaN", "-Infinity", "0x1p4", "1,5", "1.2.3", "\x00", "\xff"},
	job.Bool:   {"maybe", "2", "truee", "-1", "\x00", "\xff"},
	job.Text:   {"a\x00b", "\xff\xfe", "\xc0\xae\xc0\xae", "\xed\xa0\x80"},
	job.Texts:  {"\x00", "\xff"},
	job.Object: {"{", `{"a": `, "\x00", "\xff"},
}

// wrongFormOption is a form of SimpleTuner's API with an option that has no such value.
func (g *abuser) wrongFormOption(route Route) (badRequest, bool) {
	if route.Spec.Body.Name != optionsBody.Name {
		return badRequest{}, false
	}
	row := pick(g, simpletuner.Rows()...)
	if row.Support != simpletuner.Implemented && row.Support != simpletuner.Refused {
		return badRequest{}, false
	}
	value := pick(g, wrongTexts[row.Kind]...)
	switch {
	case row.Min != row.Max && g.IntN(2) == 0:
		value = pick(g, fmt.Sprint(row.Min-1), fmt.Sprintf("%.0f", row.Max+max(1, row.Max/1e6)))
	case len(row.Choices) > 0 && g.IntN(2) == 0:
		value = pick(g, "nothing", row.Choices[0]+"x", strings.Repeat("x", 70_000))
	}
	form := map[string][]string{"--" + row.Name: {value}}
	for name, text := range g.form {
		if name != row.Name {
			form[pick(g, "--", "")+name] = []string{text}
		}
	}
	bad := badRequest{method: route.Method, path: route.Path, names: row.Name}
	bad.headers, bad.body = g.encodeForm(form)
	return bad, true
}

// encodeForm writes fields in one of the ways in which a form may come.
func (g *abuser) encodeForm(form map[string][]string) (headers []string, body string) {
	if g.IntN(2) == 0 {
		return []string{"Content-Type", mediaForm}, url.Values(form).Encode()
	}
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			if err := w.WriteField(name, value); err != nil {
				panic(err) // a buffer takes everything
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return []string{"Content-Type", w.FormDataContentType()}, out.String()
}

// brokenForm is a body that is no form.
func (g *abuser) brokenForm(route Route) (badRequest, bool) {
	if !slices.Contains(route.Spec.Body.Media, mediaForm) {
		return badRequest{}, false
	}
	many := strings.Repeat("a=1&", formFields+1)
	const part = "--b\r\nContent-Disposition: form-data; name=\"seed\""
	sent := pick(g,
		[]string{mediaMultipart, "--b\r\n\r\n"},
		[]string{mediaMultipart + "; boundary=b", "no parts"},
		[]string{mediaMultipart + "; boundary=b", part + "\r\n\r\n1"},
		[]string{mediaMultipart + "; boundary=b", part + "; filename=\"../../etc/passwd\"\r\n\r\n1\r\n--b--\r\n"},
		[]string{mediaMultipart + "; boundary=b", part + "\r\n\r\n\xff\xfe\r\n--b--\r\n"},
		[]string{mediaMultipart + "; boundary=b", strings.Repeat(part+"\r\n\r\n1\r\n", formFields+1) + "--b--\r\n"},
		[]string{mediaMultipart + "; boundary=" + strings.Repeat("b", 200), "x"},
		[]string{mediaForm, many},
		[]string{mediaForm, "%zz=1"},
		[]string{mediaForm, "a=%f"},
		[]string{mediaForm, "seed=%ff%fe"},
		[]string{mediaForm, "seed=%00"},
		[]string{mediaForm, strings.Repeat("n", fieldName+1) + "=1"},
		[]string{mediaForm, "seed=" + strings.Repeat("1", fieldValue+1)},
		[]string{mediaJSON, "{"},
		[]string{mediaJSON, `[{"seed": 1}]`},
		[]string{mediaJSON, `{"seed": 1, "seed": 2}`},
		[]string{"text/plain", "seed=1"},
		[]string{"nonsense", "seed=1"},
	)
	return badRequest{method: route.Method, path: route.Path, headers: []string{"Content-Type", sent[0]}, body: sent[1], names: "body"}, true
}
