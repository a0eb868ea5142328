# Complete pooling by lm: the fixed part of a mixed model's formula alone, as tidy tables.
#   source("tidy.R"); source("lm.R")
#   fit_lm(lme4::sleepstudy, Reaction ~ Days + (Days | Subject))$rows

fit_lm <- function(data, formula, method = c("REML", "ML"), profile = c("default", "tight"),
                   weights = NULL, offset = NULL) {
  method <- match.arg(method)
  match.arg(profile) # least squares has nothing to tighten
  started <- Sys.time()
  fit <- with_columns(quote(stats::lm(formula_parts(formula)$fixed, data)), weights, offset)
  seconds <- as.numeric(Sys.time() - started, units = "secs")

  # logLik(fit, REML = TRUE) is the log-likelihood of (n-p) contrasts: -log|X'X|/2 and no +log|X'X|/2, as in lme4.
  loglik <- as.numeric(logLik(fit, REML = method == "REML"))
  # The variance that belongs to that log-likelihood: RSS/(n-p) by REML, RSS/n by ML.
  ratio <- if (method == "REML") 1 else fit$df.residual / nobs(fit)
  sigma <- sigma(fit) * sqrt(ratio)
  beta <- coef(fit)
  rows <- tidy_table(tidy_fixed(beta, sqrt(ratio * diag(vcov(fit)))[names(beta)]), tidy_residual(sigma))
  list(rows = rows, facts = list(loglik = loglik, sigma = sigma, n = nobs(fit), seconds = seconds, converged = NA))
}
