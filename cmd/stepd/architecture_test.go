package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/stepd/stepd/"

type goPackage struct {
	ImportPath string
	Doc        string
	Imports    []string
	CgoFiles   []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Doc,Imports,CgoFiles", "./...")
	command.Dir = "../.."
	out, err := command.Output()
	require.NoError(t, err)
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p goPackage
		require.NoError(t, d.Decode(&p))
		all = append(all, p)
	}
	require.Greater(t, len(all), 10)
	return all
}

// Imports point one way: cmd → server → sessions → sessions/engine ← cgo.
func TestImportArrows(t *testing.T) {
	forbidden := []struct{ from, to, reason string }{
		{"sessions", "server", "sessions know nothing of HTTP"},
		{"sessions", "cgo", "sessions use the engine they are given, so that their tests need no native core"},
		{"sessions", "cmd", "a command is the last in line"},
		{"server", "cgo", "the server speaks to sessions only"},
		{"server", "cmd", "a command is the last in line"},
		{"cgo", "server", "the core is embeddable on its own"},
		{"cgo", "cmd", "the core is embeddable on its own"},
		{"sessions/engine", "sessions/", "the seam depends on nothing"},
	}
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module)
			for _, rule := range forbidden {
				if ours && inside(from, rule.from) && inside(to, rule.to) && !inside(from, "sessions/engine/fake") {
					t.Errorf("%s imports %s: %s", from, to, rule.reason)
				}
			}
			if ours && inside(from, "cgo") && !inside(to, "sessions/engine") && !inside(to, "cgo") {
				t.Errorf("%s imports %s: of this module, package cgo uses sessions/engine only", from, to)
			}
			if (imported == "unsafe" || imported == "C" || imported == "github.com/mattn/go-pointer") && !inside(from, "cgo") {
				t.Errorf("%s imports %s: only package cgo crosses into C", from, imported)
			}
		}
		if len(p.CgoFiles) > 0 && !inside(from, "cgo") {
			t.Errorf("%s uses cgo: only package cgo crosses into C", from)
		}
	}
}

// inside tells whether path is the package root or lies below it; a root that ends in a slash means only below.
func inside(path, root string) bool {
	if strings.HasSuffix(root, "/") {
		return strings.HasPrefix(path, root)
	}
	return path == root || strings.HasPrefix(path, root+"/")
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		require.NotEmpty(t, p.Doc, "package %s has no package comment", p.ImportPath)
	}
}

const (
	longestFile     = 500
	longestFunction = 60
)

func TestFilesAndFunctionsStayShort(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".git") || entry.Name() == "build" || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		switch filepath.Ext(path) {
		case ".go":
			checkGoFile(t, path)
		case ".cpp", ".h":
			checkLength(t, path)
		}
		return nil
	})
	require.NoError(t, err)
}

func checkLength(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	if lines := strings.Count(string(data), "\n"); lines > longestFile {
		t.Errorf("%s has %d lines, more than %d", path, lines, longestFile)
	}
}

func checkGoFile(t *testing.T, path string) {
	t.Helper()
	checkLength(t, path)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, nil, 0)
	require.NoError(t, err)
	for _, declaration := range parsed.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := files.Position(function.End()).Line - files.Position(function.Pos()).Line + 1
		if lines > longestFunction {
			t.Errorf("%s: %s has %d lines, more than %d", path, function.Name.Name, lines, longestFunction)
		}
	}
}
