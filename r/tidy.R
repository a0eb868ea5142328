# Tables that every engine's file returns, with broom.mixed's columns. Variances, never standard deviations.
# Source this file before any of theirs.

# Some rows of a table, as columns: data frames are made once, by tidy_table(), since each costs as much as a small fit.
tidy_rows <- function(effect, term, estimate, std_error = NA_real_, group = NA_character_, level = NA_character_,
                      df = NA_real_) {
  n <- length(estimate)
  columns <- list(
    effect = rep_len(effect, n), group = rep_len(group, n), level = rep_len(level, n), term = rep_len(term, n),
    estimate = as.numeric(estimate), std_error = rep_len(as.numeric(std_error), n),
    df = rep_len(as.numeric(df), n)
  )
  structure(columns, class = "tidy_rows")
}

# One data frame of rows, lists of rows, lists of lists ...
tidy_table <- function(...) {
  flat <- function(x) if (inherits(x, "tidy_rows")) list(unclass(x)) else do.call(c, lapply(unname(x), flat))
  parts <- flat(list(...))
  column <- function(name) unlist(lapply(parts, `[[`, name), use.names = FALSE)
  list2DF(sapply(names(parts[[1]]), column, simplify = FALSE))
}

# df: denominator degrees of freedom, of an engine that has them.
tidy_fixed <- function(beta, std_error, df = NA_real_) tidy_rows("fixed", names(beta), beta, std_error, df = df)

# One term's covariance matrix G: var__ for the diagonal, cov__ for the rest; NA where there is no such parameter.
tidy_covariance <- function(group, G) {
  G <- as.matrix(G)
  names <- colnames(G)
  lower <- lower.tri(G) & !is.na(G)
  list(
    tidy_rows("ran_pars", paste0("var__", names), diag(G), group = group),
    tidy_rows("ran_pars", sprintf("cov__%s.%s", names[col(G)[lower]], names[row(G)[lower]]), G[lower], group = group)
  )
}

# errors: named parameters of formula_parts()' residual, where there is one.
tidy_residual <- function(sigma, errors = numeric()) {
  tidy_rows("ran_pars", c("var__Observation", names(errors)), c(sigma^2, errors), group = "Residual")
}

# b: one row a level, one column a coefficient.
tidy_levels <- function(group, b) {
  tidy_rows("ran_vals", rep(colnames(b), each = nrow(b)), unlist(b, use.names = FALSE),
    group = group, level = rep(row.names(b), ncol(b))
  )
}

# A fitting function's call, with the columns of weights and offset (names, or NULL) as arguments where there are any.
with_columns <- function(call, weights = NULL, offset = NULL) {
  columns <- lapply(c(weights = weights, offset = offset), as.name)
  eval(as.call(c(as.list(call), columns)), parent.frame())
}

# lme4's formula, split: `y ~ x` and a list of random terms, each with `columns` (a one-sided formula)
# and `factors` (the variables crossed to make the groups). `residual`, of varIdent(1 | group) or
# corAR1(position | group): `kind`, and the names `position` and `group`. Walks the formula; evaluates nothing.
formula_parts <- function(formula) {
  is_call <- function(e, name) is.call(e) && identical(e[[1]], as.name(name))
  summands <- function(e) {
    if (is_call(e, "+") && length(e) == 3) c(summands(e[[2]]), summands(e[[3]])) else list(e)
  }
  bare <- function(e) if (is_call(e, "(")) bare(e[[2]]) else e
  one_sided <- function(e) as.formula(call("~", e), env = environment(formula))
  # a/b/c is a, b:a and c:b:a; lme4 lists the innermost first.
  groups <- function(e) {
    e <- bare(e)
    if (!is_call(e, "/")) return(list(all.vars(e)))
    outer <- groups(e[[2]])
    c(list(c(all.vars(e[[3]]), outer[[1]])), outer)
  }
  # (1 + x || g) is (1 | g) + (0 + x | g).
  uncorrelated <- function(e) {
    terms <- terms(one_sided(e))
    slopes <- lapply(attr(terms, "term.labels"), function(label) call("+", 0, str2lang(label)))
    c(if (attr(terms, "intercept")) list(1), slopes)
  }
  random <- list()
  fixed <- residual <- NULL
  for (e in summands(formula[[3]])) {
    bar <- bare(e)
    if (is_call(bar, "varIdent") || is_call(bar, "corAR1")) {
      residual <- list(
        kind = as.character(bar[[1]]), position = as.character(bar[[2]][[2]]), group = as.character(bar[[2]][[3]])
      )
      next
    }
    if (!is_call(bar, "|") && !is_call(bar, "||")) {
      fixed <- if (is.null(fixed)) e else call("+", fixed, e)
      next
    }
    columns <- if (is_call(bar, "||")) uncorrelated(bar[[2]]) else list(bar[[2]])
    for (factors in groups(bar[[3]])) {
      for (column in columns) {
        random <- c(random, list(list(columns = one_sided(column), factors = factors)))
      }
    }
  }
  y_on_x <- as.formula(call("~", formula[[2]], if (is.null(fixed)) 1 else fixed), env = environment(formula))
  list(fixed = y_on_x, random = random, residual = residual)
}
