package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// shortestToken is the least length of a token that an operator wrote into the file; made ones have 64 hex digits.
const shortestToken = 16

// token is what requests must carry; empty with --no-auth.
func (o *serveOptions) token() (string, error) {
	if o.noAuth {
		return "", nil
	}
	return readToken(o.data)
}

// readToken returns the secret in the data folder, which only its owner may read, and makes it at the first start.
func readToken(data string) (string, error) {
	path := filepath.Join(data, "token")
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the token: %w; start as the owner of the data folder, or choose another one with --data", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return makeToken(data, path)
	}
	if len(token) < shortestToken {
		return "", usageError("the token in %s has %d characters, and anyone can guess it; use at least %d, "+
			"or remove the file and a new one is made", path, len(token), shortestToken)
	}
	return token, os.Chmod(path, 0o600)
}

func makeToken(data, path string) (string, error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return "", err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	token := hex.EncodeToString(secret)
	// By way of another file, so that a full disk leaves no empty token.
	if err := os.WriteFile(path+".new", []byte(token+"\n"), 0o600); err != nil {
		return "", err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "requests need the header \"Authorization: Bearer %s\"; the token is in %s\n", token, path)
	return token, nil
}
