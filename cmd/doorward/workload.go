package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"doorward"
)

// workload is the flow of a program with a JWT of the place where it runs.
func (f *tokenFlags) workload(e env, client doorward.Credentials) (doorward.Flow, error) {
	read, err := e.jwt("workload-jwt", f.workloadJWT)
	if err != nil {
		return nil, err
	}
	return &doorward.Workload{Client: client, Scopes: f.scopes,
		Assertion: func(context.Context, string) (string, error) { return read() }}, nil
}

// jwt reads a JWT that the platform puts somewhere and replaces from time to
// time: anew each time. Unlike a secret's, its file may be readable by others:
// that is how Kubernetes mounts it.
func (e env) jwt(flag, value string) (func() (string, error), error) {
	name, isEnv := strings.CutPrefix(value, "env:")
	path, isFile := strings.CutPrefix(value, "file:")
	switch {
	case value == "":
		return nil, wrongUse{fmt.Errorf("the workload flow needs --%s, env:NAME or file:PATH", flag)}
	case isEnv:
		return func() (string, error) {
			if v := strings.TrimSpace(e.get(name)); v != "" {
				return v, nil
			}
			return "", fmt.Errorf("the variable %s is not set", name)
		}, nil
	case isFile:
		return func() (string, error) {
			b, err := os.ReadFile(path)
			if err == nil && len(strings.TrimSpace(string(b))) == 0 {
				err = errors.New(path + " is empty")
			}
			return strings.TrimSpace(string(b)), err
		}, nil
	}
	return nil, wrongUse{fmt.Errorf("--%s: a JWT on the command line is env:NAME or file:PATH", flag)}
}
