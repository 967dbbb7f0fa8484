package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/job"
)

// badRequest is a request that must be refused.
type badRequest struct {
	kind, method, path string
	headers            []string
	body               string
	names              string // what the refusal must say
}

// abuser makes bad requests out of the table of routes.
type abuser struct {
	*rand.Rand
	routes []Route
	rich   []Route        // those that take options of a job
	job    map[string]any // of POST /sessions; its folders exist
	form   options        // of POST /api/training/start; likewise
}

func newAbuser(seed uint64, routes []Route, a *api) *abuser {
	taken := slices.DeleteFunc(slices.Clone(routes), func(r Route) bool { return r.Tag == tagPages })
	rich := slices.DeleteFunc(slices.Clone(taken), func(r Route) bool { return !r.takesJob() && r.Spec.Body.Name != optionsBody.Name })
	return &abuser{Rand: rand.New(rand.NewPCG(seed, 0)), routes: taken, rich: rich, job: a.document("abused"), form: a.fastPath(nil)}
}

// maker turns a route into a bad request, where its kind of badness is possible there.
type maker struct {
	kind   string
	weight int
	make   func(*abuser, Route) (badRequest, bool)
}

var makers = []maker{
	{"method", 1, (*abuser).wrongMethod},
	{"path", 1, (*abuser).wrongPath},
	{"host", 1, (*abuser).foreignHost},
	{"compressed", 1, (*abuser).compressed},
	{"oversize", 1, (*abuser).oversize},
	{"name", 4, (*abuser).wrongName},
	{"query", 4, (*abuser).wrongQuery},
	{"JSON", 4, (*abuser).brokenJSON},
	{"missing", 4, (*abuser).missingField},
	{"field", 8, (*abuser).wrongField},
	{"form", 4, (*abuser).brokenForm},
	{"option", 20, (*abuser).wrongOption},
	{"form option", 20, (*abuser).wrongFormOption},
}

// request makes the i-th request. Every route gets its turn, and in between those that take the hundreds of options.
func (g *abuser) request(i int) badRequest {
	route := g.routes[i/2%len(g.routes)]
	if i%2 == 1 {
		route = pick(g, g.rich...)
	}
	var kinds []maker
	for _, m := range makers {
		kinds = append(kinds, slices.Repeat([]maker{m}, m.weight)...)
	}
	for {
		m := pick(g, kinds...)
		if bad, possible := m.make(g, route); possible {
			bad.kind = m.kind
			return bad
		}
	}
}

func pick[T any](g *abuser, from ...T) T { return from[g.IntN(len(from))] }

// good is a request of a route that has nothing wrong but, perhaps, that what it names is not there.
func (g *abuser) good(route Route) badRequest {
	good := badRequest{method: route.Method, path: route.concrete()}
	if body := g.object(route); body != nil {
		good.headers, good.body = []string{"Content-Type", mediaJSON}, encode(body)
	}
	return good
}

// object is the body of a route that takes nothing but JSON.
func (g *abuser) object(route Route) map[string]any {
	media := route.Spec.Body.Media
	if !slices.Contains(media, mediaJSON) || slices.Contains(media, mediaForm) || route.Spec.Body.Example == nil {
		return nil
	}
	body := maps.Clone(route.Spec.Body.Example)
	if route.takesJob() {
		body["config"] = g.job
	}
	return body
}

func encode(value any) string {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		panic(err) // the generator makes only what JSON can hold
	}
	return strings.TrimSpace(out.String())
}

func (g *abuser) wrongMethod(route Route) (badRequest, bool) {
	bad := g.good(route)
	bad.method = pick(g, everyMethod...)
	taken := slices.ContainsFunc(routes, func(r Route) bool { return matches(r.Path, bad.path) && r.Method == bad.method })
	bad.names = "Method Not Allowed"
	if bad.method == http.MethodHead {
		bad.names = ""
	}
	return bad, !taken && !(bad.method == http.MethodHead && route.Access == Open)
}

func (g *abuser) wrongPath(route Route) (badRequest, bool) {
	bad := g.good(route)
	bad.path += pick(g, "/..", "/../..", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//", "/\x01", "/%00", "/nothing/at/all", "/"+strings.Repeat("a", 4000))
	bad.names = "detail"
	return bad, !isRoute(bad.path)
}

// wrongNames are no names of sessions, environments, files or checkpoints.
var wrongNames = []string{
	"..", ".", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "..%5c..%5cwindows", "a%00b", "%0d%0aX-Evil:%201", "%ff%fe", "%c0%ae%c0%ae",
	"nothing", "-rf", "~root", "$HOME", "$(id)", "a;b", "%e2%80%ae", "con", "trailing.", "trailing%20", strings.Repeat("n", 300), strings.Repeat("%C3%A4", 300),
}

func (g *abuser) wrongName(route Route) (badRequest, bool) {
	bad := g.good(route)
	before, after, found := strings.Cut(bad.path, "/one")
	bad.path = before + "/" + pick(g, wrongNames...) + after
	bad.names = "detail"
	if strings.Contains(route.Path, "/validate/") {
		bad.names = "valid"
	}
	return bad, found
}

func (g *abuser) foreignHost(route Route) (badRequest, bool) {
	bad := g.good(route)
	bad.headers = append(bad.headers, pick(g, []string{"Host", "evil.example.org"}, []string{"Origin", "http://evil.example.org"}, []string{"Origin", "null"})...)
	return bad, true
}

func (g *abuser) compressed(route Route) (badRequest, bool) {
	bad := g.good(route)
	bad.headers = append(bad.headers, "Content-Encoding", pick(g, "gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"))
	bad.names = "Content-Encoding"
	return bad, true
}

func (g *abuser) oversize(route Route) (badRequest, bool) {
	bad := g.good(route)
	if g.IntN(4) == 0 {
		bad.headers = append(bad.headers, "X-Long", strings.Repeat("x", headerLimit+g.IntN(1<<16)))
		bad.names = "headers"
		return bad, true
	}
	bad.body = pick(g, `{"config": "`, "a=", "[[[[") + strings.Repeat("x", bodyLimit+g.IntN(1<<16))
	bad.names = "body"
	return bad, true
}

func (g *abuser) wrongQuery(route Route) (badRequest, bool) {
	if len(route.Spec.Query) == 0 {
		return badRequest{}, false
	}
	bad, field := g.good(route), pick(g, route.Spec.Query...)
	var value string
	switch {
	case field.Kind == job.Int:
		value = pick(g, "x", "-1", "1.5", "1e3", "9007199254740993", "9223372036854775808", "18446744073709551616", "1e400", "NaN", "0x10", "１", "1 2", "\x00", strings.Repeat("9", 5000))
	case len(field.Choices) > 0:
		value = pick(g, "nothing", "../model", "MODEL", "model\x00", strings.Repeat("m", 5000))
	case field.Name == "output_dir":
		value = pick(g, "../../etc", "/etc", "/", "..", "a/../../..", strings.Repeat("../", 2000), "a\x00b", "\xff")
	case field.Name == "path":
		value = pick(g, "../../etc/passwd", "/etc/passwd", "..\\..\\etc", "a\x00b", "nothing.json", strings.Repeat("../", 2000), ".", "..", "\xff")
	case field.Kind == job.Bool:
		value = pick(g, "maybe", "2", "-1", "truee", "nil", "\x00", "\xff")
	default:
		value = pick(g, "\x00", "a\x00b", "\xff\xfe", "\xc0\xae")
	}
	bad.path += "?" + url.QueryEscape(field.Name) + "=" + url.QueryEscape(value)
	bad.names = field.Name
	if field.Name == "path" {
		bad.names = "detail"
	}
	return bad, true
}

// brokenJSON is a body that is no JSON object, or one that two parsers could read differently.
func (g *abuser) brokenJSON(route Route) (badRequest, bool) {
	object := g.object(route)
	if object == nil {
		return badRequest{}, false
	}
	bad := g.good(route)
	key := pick(g, slices.Sorted(maps.Keys(object))...)
	bad.body = pick(g,
		func() string { return "" },
		func() string { return bad.body[:g.IntN(len(bad.body))] },
		func() string { return bad.body + pick(g, "x", "{}", "]", "\x00") },
		func() string { return "[" + bad.body + "]" },
		func() string {
			return pick(g, "null", "true", "7", `"text"`, "[]", "NaN", "{'a': 1}", "\xef\xbb\xbf{}", "<xml/>")
		},
		func() string { return strings.Repeat(`{"a":`, 100_000) },
		func() string { return strings.Repeat("[", 100_000) },
		func() string { return fmt.Sprintf(`{"%s": 1, %s`, key, bad.body[1:]) }, // twice the same key
		func() string { return strings.Replace(bad.body, `"`, "\"\xff\xfe\xc0\xae", 1) },
		func() string { return string(rune(0xFEFF)) + bad.body },
	)()
	bad.names = "detail"
	return bad, true
}

// wrongValues are no values of a kind, in any spelling that the APIs take.
var wrongValues = map[job.Kind][]any{
	job.Int: {"many", "", 1.5, []any{}, []any{1}, object{}, object{"a": 1}, "1e400", "NaN", json.Number("1e400"), json.Number("-1e400"), -1, -1 << 62,
		json.Number("9223372036854775808"), json.Number(strings.Repeat("9", 10_000)), "0x10", "1 000"},
	job.Float:  {"fast", "", []any{}, object{}, "NaN", "Infinity", "-Infinity", json.Number("1e400"), -1, "1,5"},
	job.Text:   {7, 1.5, true, []any{}, []any{"a"}, object{}, object{"a": "b"}, json.Number("1e400")},
	job.Texts:  {7, "text", true, object{}, []any{7}, []any{[]any{}}, []any{nil}},
	job.Object: {7, "text", true, []any{7}, []any{nil}},
	job.Bool:   {"maybe", "", 2, -1, 1.5, []any{}, object{}},
}

func (g *abuser) wrongField(route Route) (badRequest, bool) {
	body := g.object(route)
	if body == nil || len(route.Spec.Body.Fields) == 0 {
		return badRequest{}, false
	}
	field := pick(g, route.Spec.Body.Fields...)
	value, possible := g.wrongValue(field.Kind, field.Min, field.Max, field.Choices)
	body[field.Name] = value
	bad := g.good(route)
	bad.body, bad.names = encode(body), field.Name
	return bad, possible && g.reaches(route)
}

func (g *abuser) missingField(route Route) (badRequest, bool) {
	body := g.object(route)
	if body == nil || len(route.Spec.Body.Fields) == 0 {
		return badRequest{}, false
	}
	field := pick(g, route.Spec.Body.Fields...)
	delete(body, field.Name)
	if g.IntN(2) == 0 {
		body[field.Name] = nil
	}
	bad := g.good(route)
	bad.body, bad.names = encode(body), field.Name
	return bad, field.Required && g.reaches(route)
}

// reaches tells whether a handler reads its body although what the path names is not there.
func (g *abuser) reaches(route Route) bool { return !strings.Contains(route.Path, ":") }
