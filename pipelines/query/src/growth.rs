//! Memory that the engine's pool does not count, and that few words of a statement could ask any amount of.
//!
//! The pool counts what sorts, groups and joins keep. What a function makes of a batch it does not, nor what a window
//! keeps. So over the network:
//!
//! - functions whose answer is as long as an argument says, or a product of two, are not there ([`WITHHELD`]), and a
//!   statement puts at most [`PARTS_MAX`] texts or lists together;
//! - what windows keep is taken from the pool ([`counted`]), and none gives each row a list of others ([`GATHERING`]);
//! - no row that is joined is wider than [`ROW_BYTES_MAX`]: a join gives thousands of it at once;
//! - no batch becomes larger than [`UNNESTED_BYTES_MAX`] when its lists are unnested;
//! - none is planned that has more than [`STEPS_MAX`] steps, which may all lie within each other.

use crate::each::{Doing, Each, EachExec};
use crate::error::QueryError;
use crate::unnested::{UNNESTED_BYTES_MAX, Unnested};
use crate::widths::{bytes, widest};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err, resources_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::sync::Arc;

/// Functions that are not there: the answer is as long as an argument says, or a product of two. As tables `range` and
/// `generate_series` give their rows one after the other, and are.
const WITHHELD: [&str; 20] = [
    "range",
    "generate_series",
    "repeat",
    "lpad",
    "rpad",
    "replace",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "array_to_string",
    "list_to_string",
    "array_join",
    "list_join",
    "array_replace",
    "list_replace",
    "array_replace_n",
    "list_replace_n",
    "array_replace_all",
    "list_replace_all",
];
/// The same of those that take a function.
const WITHHELD_HIGHER: [&str; 2] = ["array_transform", "list_transform"];
/// Functions whose answer is as long as their arguments together.
const GROWING: [&str; 14] = [
    "concat",
    "concat_ws",
    "overlay",
    "make_array",
    "array_append",
    "array_prepend",
    "array_concat",
    "array_union",
    "arrays_zip",
    "array_add",
    "map",
    "struct",
    "named_struct",
    "string_to_array",
];
/// Aggregates whose answer is all that they were given: over a window, once for each row.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];
/// How often a window keeps a row: as it came, and put together with others.
const KEPT_TIMES: usize = 2;
/// Widest row that is joined, bytes: what an aggregate has put together may be as long as the pool.
const ROW_BYTES_MAX: usize = 128 << 10;
/// What an answer of a window takes whose width is not that of its type: a key of a dictionary, or a view of a text.
const ANSWER_BYTES: usize = 16;
/// Arguments of these in one statement: put together as cleverly as may be, they make a text 243 times as long.
const PARTS_MAX: usize = 16;
/// Words and signs of a statement that may go one deeper: all but names and values, and what separates the values behind
/// IN; a comma joins, too. Whoever plans a statement goes down into itself for each step of it, and a stack that ends
/// takes the process along: [`STACK_BYTES`] is for so many, in a build for debugging too.
const STEPS_MAX: usize = 2000;
/// Stack of each thread that plans or runs statements. What is not used of it costs nothing.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// A function that is not there, and says so.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Withheld {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for Withheld {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _of: &[DataType]) -> Result<DataType> {
        plan_err!("{} is not here: what it makes takes memory that is not counted", self.name)
    }

    fn invoke_with_args(&self, _of: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("{} is not here", self.name)
    }
}

/// Takes the functions away that a session must not have.
pub(crate) fn withhold(session: &SessionContext) {
    for name in WITHHELD_HIGHER {
        session.deregister_higher_order_function(name);
    }
    for name in WITHHELD.into_iter().chain(WITHHELD_HIGHER) {
        let signature = Signature::variadic_any(Volatility::Volatile);
        session.register_udf(ScalarUDF::from(Withheld { name, signature }));
    }
}

/// Refuses a statement that may be deeper than the stack, before anybody goes down into it. What is no SQL at all, the
/// parser says better.
pub(crate) fn check_steps(sql: &str) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let (mut steps, mut before) = (0, &Token::EOF);
    // For each bracket that is open, whether it is a list of values behind IN so far: its commas alone are none.
    let mut lists = Vec::new();
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        let is_value = matches!(token, Token::Number(..) | Token::SingleQuotedString(_));
        match token {
            Token::LParen => lists.push(matches!(before, Token::Word(word) if word.keyword == Keyword::IN)),
            Token::RParen => drop(lists.pop()),
            Token::Comma => {}
            _other => lists.iter_mut().rev().take(1).for_each(|is_list| *is_list &= is_value),
        }
        steps += usize::from(match token {
            Token::Word(word) => word.keyword != Keyword::NoKeyword,
            Token::Comma => lists.last() != Some(&true),
            Token::Period | Token::DoubleQuotedString(_) => false,
            _sign => !is_value,
        });
        before = token;
    }
    if steps > STEPS_MAX {
        return Err(QueryError::Statement(format!(
            "it has {steps} words and signs, and may have {STEPS_MAX}"
        )));
    }
    Ok(())
}

/// Refuses a statement that puts too much together.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let (parts, gathers) = parts(plan).map_err(|error| QueryError::Statement(error.strip_backtrace()))?;
    if let Some(name) = gathers {
        let text = format!("{name} is not here over a window: each row would have a list of its own");
        return Err(QueryError::Statement(text));
    }
    if parts > PARTS_MAX {
        let text = format!("it puts {parts} texts or lists together, and may {PARTS_MAX}");
        return Err(QueryError::Statement(text));
    }
    Ok(())
}

/// Counts what a statement puts together; and names what gathers rows over a window, if anything does.
fn parts(plan: &LogicalPlan) -> Result<(usize, Option<&'static str>)> {
    let (mut parts, mut gathers) = (0, None);
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                parts += match expr {
                    Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. }) => 2,
                    Expr::ScalarFunction(call) if GROWING.contains(&call.name()) => call.args.len(),
                    Expr::WindowFunction(call) => {
                        gathers = gathers.or(GATHERING.into_iter().find(|name| *name == call.fun.name()));
                        0
                    }
                    _other => 0,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok((parts, gathers))
}

/// Takes what the windows of a plan keep from the pool of its statement, where that has an end, and bounds the rows that
/// are joined there. What each window may answer has a width: one over whole partitions answers all of their rows at once.
pub(crate) fn counted(plan: Arc<dyn ExecutionPlan>, context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    if matches!(context.memory_pool().memory_limit(), MemoryLimit::Infinite) {
        return Ok(plan);
    }
    let counted = plan.transform_up(|node| {
        let Some(bound) = bound(&node)? else { return Ok(Transformed::no(node)) };
        let inputs = node.children().into_iter().cloned();
        let inputs = inputs.map(|input| Arc::new(EachExec::alike(input, bound.clone())) as _).collect();
        // What is put in between changes nothing that the node was planned by.
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        Ok(Transformed::yes(node.replace_children(inputs, options)?))
    });
    counted.map(|plan| plan.data)
}

/// Returns what stands before a node, if anything does.
fn bound(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn Each>>> {
    let (windows, is_whole) = match (node.downcast_ref(), node.downcast_ref()) {
        (Some(whole), _) => (WindowAggExec::window_expr(whole), true),
        (_, Some(bounded)) => (BoundedWindowAggExec::window_expr(bounded), false),
        (None, None) if node.name().ends_with("JoinExec") => return Ok(Some(Arc::new(Joined))),
        (None, None) => {
            let before = |node| Arc::new(Unnested::before(node)) as Arc<dyn Each>;
            return Ok(node.downcast_ref().map(before));
        }
    };
    let answers = windows.iter().map(|window| answer_bytes(window, is_whole)).sum::<Result<usize>>()?;
    Ok(Some(Arc::new(Kept { answers })))
}

/// Returns what a window's answer for one row takes.
fn answer_bytes(window: &Arc<dyn WindowExpr>, is_whole: bool) -> Result<usize> {
    let field = window.field()?;
    match field.data_type() {
        DataType::Boolean | DataType::Null | DataType::Dictionary(..) => Ok(ANSWER_BYTES),
        width if width.primitive_width().is_some() => Ok(width.primitive_width().unwrap_or(ANSWER_BYTES)),
        // Batch by batch, as any other text.
        _text if !is_whole => Ok(ANSWER_BYTES),
        text => resources_err!("a window over whole partitions that answers with {text}"),
    }
}

/// What a window keeps, as long as it runs.
#[derive(Debug)]
struct Kept {
    /// Bytes of its answers for one row.
    answers: usize,
}

impl Each for Kept {
    fn name(&self) -> &'static str {
        "KeptExec"
    }

    fn start(&self, context: &TaskContext) -> Doing {
        let answers = self.answers;
        let kept = MemoryConsumer::new("window").register(context.memory_pool());
        Box::new(move |batch: RecordBatch| {
            let own: usize = batch.columns().iter().map(bytes).sum();
            kept.try_grow(own * KEPT_TIMES + batch.num_rows() * answers)?;
            Ok(vec![batch])
        })
    }
}

/// A row that is joined or unnested and too wide. Not the engine's own word for what does not fit: a join that hears that
/// begins again with its input on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooWide {
    #[error("a row that is joined has {0} bytes, and may have {ROW_BYTES_MAX}")]
    Joined(usize),
    #[error("a row becomes {0} bytes when its lists are unnested, and may become {UNNESTED_BYTES_MAX}")]
    Unnested(usize),
}

/// Rows that are joined.
#[derive(Debug)]
struct Joined;

impl Each for Joined {
    fn name(&self) -> &'static str {
        "RowBoundExec"
    }

    fn start(&self, _context: &TaskContext) -> Doing {
        Box::new(|batch: RecordBatch| {
            let width: usize = batch.columns().iter().map(widest).sum();
            if width > ROW_BYTES_MAX {
                return Err(DataFusionError::External(Box::new(TooWide::Joined(width))));
            }
            Ok(vec![batch])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::runtime;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionConfig;

    /// Runs a statement as the server does.
    async fn told(sql: &str) -> Result<usize> {
        told_within(1 << 30, sql).await
    }

    async fn told_within(bytes_max: usize, sql: &str) -> Result<usize> {
        let config = SessionConfig::new().with_target_partitions(4);
        let session = SessionContext::new_with_config_rt(config, runtime(Some(bytes_max)).unwrap());
        let frame = session.sql(sql).await?;
        let context = Arc::new(frame.task_ctx());
        let plan = counted(frame.create_physical_plan().await?, &context)?;
        let rows = collect(plan, context).await?;
        Ok(rows.iter().map(RecordBatch::num_rows).sum())
    }

    #[tokio::test]
    async fn what_is_joined_is_not_wide() {
        let long = "(SELECT string_agg(CAST(value AS varchar), ',') AS s, array_agg(value) AS a, min(value) AS n \
                    FROM generate_series(1, 30000)) w";
        for sql in [
            format!("SELECT length(w.s || g.value) FROM {long}, generate_series(1, 100000) g"),
            format!("SELECT s FROM {long} JOIN generate_series(1, 9) g ON length(w.s) > g.value"),
            format!("SELECT s FROM {long} JOIN generate_series(1, 9) g ON w.n = g.value"),
            format!("SELECT a FROM generate_series(1, 9) g, {long}"),
        ] {
            let refused = told(&sql).await.unwrap_err();
            assert!(matches!(QueryError::kept(&refused), QueryError::Memory), "{sql}: {refused}");
        }
        assert_eq!(told(&format!("SELECT s, a FROM {long}")).await.unwrap(), 1);
        assert_eq!(
            told(&format!("SELECT w.n FROM {long} JOIN generate_series(1, 9) g ON w.n = g.value"))
                .await
                .unwrap(),
            1
        );
        let beside = "SELECT s, unnest(a) FROM (SELECT string_agg(CAST(value AS varchar), ',') AS s, \
                      array_agg(value) AS a FROM generate_series(1, 30000))";
        let refused = told(beside).await.unwrap_err();
        assert!(matches!(QueryError::kept(&refused), QueryError::Memory), "{refused}");
        let alone = "SELECT unnest(a) FROM (SELECT array_agg(value) AS a FROM generate_series(1, 30000))";
        assert_eq!(told(alone).await.unwrap(), 30_000);
        let few = "(SELECT array_agg(value) AS a FROM generate_series(1, 1000)) w";
        assert_eq!(told(&format!("SELECT a FROM {few}, generate_series(1, 9)")).await.unwrap(), 9);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_join_by_comparing_that_runs_out_of_memory_says_so() {
        let many = "(SELECT value, 'a long text that has to be kept beside it ' || value AS t \
                    FROM generate_series(1, 30000))";
        let few = "(SELECT value, 'a' || value AS t FROM generate_series(1, 9))";
        for join in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
            let kept = |a: &str, b: &str| {
                format!("SELECT max(a.t), max(b.t) FROM {a} a {join} {b} b ON a.value > b.value + 29990")
            };
            for sql in [kept(many, few), kept(many, many)] {
                let refused = told_within(1 << 19, &sql).await.unwrap_err();
                assert!(matches!(QueryError::kept(&refused), QueryError::Memory), "{sql}: {refused}");
            }
        }
    }

    #[test]
    fn commas_that_join_are_steps_and_those_of_values_are_not() {
        let many = |what: &str| vec![what; STEPS_MAX + 1].join(", ");
        for values in ["1", "'d-1'"] {
            check_steps(&format!("SELECT 1 FROM vitals WHERE x IN ({})", many(values))).unwrap();
            check_steps(&format!("SELECT 1 FROM vitals WHERE x NOT IN ( {} )", many(values))).unwrap();
        }
        for joined in ["vitals", "'vitals'", "\"vitals\"", "vitals 'v'", "vitals v1", "\"a\".\"b\""] {
            for sql in ["SELECT 1 FROM {}", "SELECT 1 WHERE 1 IN (SELECT 1 FROM {})", "SELECT {}"] {
                let refused = check_steps(&sql.replace("{}", &many(joined)));
                assert!(matches!(refused, Err(QueryError::Statement(_))), "{sql} of {joined}");
            }
        }
        check_steps(&vec!["SELECT a, b FROM vitals"; 300].join(" UNION ALL ")).unwrap();
    }
}
