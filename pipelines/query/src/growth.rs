//! Memory that the engine's pool does not count, and that few words of a statement could ask any amount of.
//!
//! The pool counts what sorts, groups and joins keep. What a function makes of a batch it does not. So over the network
//! functions whose answer is as long as an argument says, or a product of two, are not there ([`WITHHELD`]), and a
//! statement puts at most [`PARTS_MAX`] texts or lists together. Nor is one planned that has more than [`STEPS_MAX`]
//! steps, which may all lie within each other.

use crate::error::QueryError;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

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
/// Arguments of these in one statement: put together as cleverly as may be, they make a text 243 times as long.
const PARTS_MAX: usize = 16;
/// Words and signs of a statement that may go one deeper: all but names, values and what separates them. Whoever plans
/// a statement goes down into itself for each step of it, and a stack that ends takes the process along:
/// [`STACK_BYTES`] is for so many, in a build for debugging too.
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
    let is_step = |token: &&Token| match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::Number(..) | Token::EOF => false,
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => false,
        _sign => true,
    };
    let steps = tokens.iter().filter(is_step).count();
    if steps > STEPS_MAX {
        return Err(QueryError::Statement(format!(
            "it has {steps} words and signs, and may have {STEPS_MAX}"
        )));
    }
    Ok(())
}

/// Refuses a statement that puts too much together.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let parts = parts(plan).map_err(|error| QueryError::Statement(error.strip_backtrace()))?;
    if parts > PARTS_MAX {
        let text = format!("it puts {parts} texts or lists together, and may {PARTS_MAX}");
        return Err(QueryError::Statement(text));
    }
    Ok(())
}

/// Counts what a statement puts together.
fn parts(plan: &LogicalPlan) -> Result<usize> {
    let mut parts = 0;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                parts += match expr {
                    Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. }) => 2,
                    Expr::ScalarFunction(call) if GROWING.contains(&call.name()) => call.args.len(),
                    _other => 0,
                };
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(parts)
}
