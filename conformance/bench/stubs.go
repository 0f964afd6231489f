package main

import "errors"

var errTodo = errors.New("x")

func benchRound(r *run) ([]figure, error)   { return nil, errTodo }
func benchSubmit(r *run) ([]figure, error)  { return nil, errTodo }
func benchStart(r *run) ([]figure, error)   { return nil, errTodo }
func benchIdle(r *run) ([]figure, error)    { return nil, errTodo }
func benchCUE(r *run) ([]figure, error)     { return nil, errTodo }
func benchSwap(r *run) ([]figure, error)    { return nil, errTodo }
func benchLog(r *run) ([]figure, error)     { return nil, errTodo }
func benchRecover(r *run) ([]figure, error) { return nil, errTodo }
