module havn.example/limits

go 1.22.3

require (
	github.com/go-chi/chi/v5 v5.0.12
	github.com/jackc/pgx/v5 v5.6.0
	go.uber.org/zap v1.27.0 // indirect
)
