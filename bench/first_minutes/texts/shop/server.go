// Package main serves the shop over HTTP.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"time"
)

const (
	listenAddress = ":8443"
	readTimeout   = 15 * time.Second
	maxBody       = 2 << 20
)

// Article is one thing that can be bought.
type Article struct {
	Number string `json:"number"`
	Name   string `json:"name"`
	Stock  int    `json:"stock"`
}

func listArticles(store *Store) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(store.All()); err != nil {
			log.Printf("listing: %v", err)
		}
	}
}

// recoverPanics answers 500 instead of letting one request end the program.
func recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if reason := recover(); reason != nil {
				log.Printf("panic: %v", reason)
				http.Error(w, "something broke", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func main() {
	store := OpenStore("articles.db")
	mux := http.NewServeMux()
	mux.Handle("/articles", listArticles(store))
	server := &http.Server{Addr: listenAddress, Handler: recoverPanics(mux), ReadTimeout: readTimeout}
	log.Fatal(server.ListenAndServeTLS("cert.pem", "key.pem"))
}
